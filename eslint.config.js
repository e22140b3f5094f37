// Rules for the pictures' modules; nothing else here is JavaScript.
const browser = [
  "document",
  "Node",
  "matchMedia",
  "getComputedStyle",
  "ResizeObserver",
  "performance",
  "innerHeight",
  "MutationObserver",
  "atob",
  "addEventListener",
  "removeEventListener",
];
const timers = ["setInterval", "clearInterval", "requestAnimationFrame", "cancelAnimationFrame"];

export default [
  {
    files: ["pages/**/*.js"],
    languageOptions: { globals: Object.fromEntries([...browser, ...timers].map((name) => [name, "readonly"])) },
    rules: {
      "no-undef": "error",
      "no-unused-vars": "error",
      "no-shadow": "error",
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: "error",
    },
  },
];
