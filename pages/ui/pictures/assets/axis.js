// Intervals around a logarithm, and round numbers on a logarithmic axis, as many as there is room for.

const REACH = 2; // standard errors, as in the claims

// The most important first.
const LEVELS = [
  [1],
  [0.1, 10, 100, 1e3, 1e4],
  [0.5, 2, 5, 20, 50, 200, 500],
  [0.2, 0.7, 0.8, 0.6, 1.5, 3, 4, 30, 70, 300],
  [0.9, 1.2, 0.3, 0.4, 1.3, 7, 40],
  [0.95, 1.05, 1.1, 1.4, 0.85, 15, 25, 60, 80],
  [0.99, 1.01, 0.98, 1.02, 12, 13, 17],
];

// Ticks between `low` and `high` on an axis of `wide` pixels, at least `apart` pixels from each other.
export function ticks(low, high, wide, apart) {
  const at = (v) => (wide * Math.log(v / low)) / Math.log(high / low);
  const found = [];
  for (const v of LEVELS.flat())
    if (v >= low && v <= high && found.every((other) => Math.abs(at(other) - at(v)) >= apart)) found.push(v);
  return found.sort((a, b) => a - b);
}

export const interval = (log, error) => [log - REACH * error, log + REACH * error];
