// A device that is not the CPU, for tests of code that shall run on accelerators.
//
// Its memory is the host's and every operation is computed by the CPU, but a tensor of this device and one of the CPU do
// not mix in an operation, copies between the two are counted, and so is each time the host would have to wait.

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <set>
#include <string>

using at::Tensor;

namespace {

constexpr auto kKind = c10::DeviceType::PrivateUse1;
const c10::Device kDevice(kKind, 0);

int64_t bytes_to_host = 0, bytes_to_device = 0, waits = 0;
bool has_float64 = true;
thread_local bool computing = false; // inside an operation: its own copies do not count

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kKind; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void synchronizeDevice(c10::DeviceIndex) const override { waits++; }
};

struct Memory final : at::Allocator {
  at::DataPtr allocate(size_t size) override {
    void* data = size ? c10::alloc_cpu(size) : nullptr;
    return {data, data, &release, kDevice};
  }
  static void release(void* data) {
    if (data) c10::free_cpu(data);
  }
  at::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* target, const void* source, std::size_t size) const override {
    std::memcpy(target, source, size);
  }
};

Memory memory;

struct Hooks final : at::PrivateUse1HooksInterface {
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isAvailable() const override { return true; }
  bool isBuilt() const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  at::Device getDeviceFromPtr(void*) const override { return kDevice; }
};

at::ScalarType allowed(std::optional<at::ScalarType> asked) {
  const auto dtype = c10::dtype_or_default(asked);
  TORCH_CHECK_TYPE(has_float64 || dtype != at::kDouble, "the stand-in was told to have no float64");
  return dtype;
}

Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   allowed(dtype), format);
}

Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &memory,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), allowed(dtype));
}

// A tensor of the CPU over the same memory.
Tensor on_host(const Tensor& tensor) {
  if (tensor.device().is_cpu()) return tensor;
  auto storage = c10::Storage(c10::Storage::use_byte_size_t(), tensor.storage().nbytes(),
                              at::DataPtr(tensor.storage().mutable_data(), at::Device(at::kCPU)), nullptr, false);
  auto view = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), tensor.dtype());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  return view;
}

Tensor copy_from(const Tensor& source, const Tensor& target, bool non_blocking) {
  const bool leaves = !source.device().is_cpu() && target.device().is_cpu();
  if (!computing && leaves) bytes_to_host += source.nbytes(), waits += !non_blocking;
  if (!computing && source.device().is_cpu()) bytes_to_device += source.nbytes();
  on_host(target).copy_(on_host(source));
  return target;
}

Tensor copy_from_and_resize(const Tensor& source, const Tensor& target) {
  if (target.sizes() != source.sizes()) target.resize_(source.sizes());
  on_host(target).copy_(on_host(source));
  return target;
}

at::Scalar item(const Tensor& tensor) {
  waits += !computing;
  return on_host(tensor).item();
}

Tensor view(const Tensor& tensor, c10::SymIntArrayRef size) {
  return at::native::view(tensor, C10_AS_INTARRAYREF_SLOW(size));
}

Tensor as_strided(const Tensor& tensor, c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<c10::SymInt> offset) {
  const auto place = offset ? std::optional<int64_t>(offset->expect_int()) : std::nullopt;
  return at::native::as_strided_tensorimpl(tensor, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), place);
}

Tensor reshape_alias(const Tensor& tensor, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return at::native::_reshape_alias(tensor, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}

const Tensor& resize(const Tensor& tensor, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* impl = tensor.unsafeGetTensorImpl();
  impl->set_sizes_contiguous(C10_AS_INTARRAYREF_SLOW(size));
  const auto& storage = tensor.storage();
  const size_t needed = (impl->numel() + impl->storage_offset()) * impl->itemsize();
  if (needed > storage.nbytes()) {
    auto grown = memory.allocate(needed);
    if (storage.nbytes()) std::memcpy(grown.get(), storage.data(), storage.nbytes());
    storage.set_data_ptr_noswap(std::move(grown));
    storage.set_nbytes(needed);
  }
  return tensor;
}

Tensor& set_source(Tensor& tensor, at::Storage source, c10::SymInt offset, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  auto* impl = tensor.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  impl->set_storage_offset(offset.expect_int());
  impl->set_sizes_and_strides(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
  return tensor;
}

// Operations whose result's shape, or whose check of its input, makes the host wait on a GPU.
const std::set<std::string> waiting = {"aten::nonzero", "aten::masked_select", "aten::bincount", "aten::equal",
                                       "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive"};

template <typename F>
void each_tensor(const c10::OperatorHandle& op, torch::jit::Stack* stack, F look) { // look(tensor, as an index)
  const auto count = op.schema().arguments().size();
  for (size_t i = 0; i < count; i++) {
    const auto& value = torch::jit::peek(*stack, i, count);
    if (value.isTensor()) look(value.toTensor(), false);
    if (value.isTensorList())
      for (const Tensor& tensor : value.toTensorList()) look(tensor, false);
    if (value.isOptionalTensorList())
      for (const std::optional<Tensor>& tensor : value.toOptionalTensorList())
        if (tensor) look(*tensor, true);
  }
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const std::string name = op.operator_name().name;
  const bool indexing = name == "aten::index" || name == "aten::index_put_" || name == "aten::_index_put_impl_";
  bool ours = false, theirs = false, chosen = false;
  each_tensor(op, stack, [&](const Tensor& tensor, bool index) {
    if (!tensor.defined()) return;
    if (!tensor.device().is_cpu()) ours = true;
    else if (tensor.dim() > 0) theirs = true; // a number on the CPU may take part, as on a GPU
    chosen |= index && tensor.scalar_type() == at::kBool;
  });
  TORCH_CHECK(!ours || !theirs || indexing, "Expected all tensors to be on the same device: ", name);
  if (!computing) waits += waiting.count(name) || (indexing && theirs) || (chosen && name != "aten::index" && indexing); // `index` calls nonzero first
  const bool outermost = !computing;
  computing = true;
  try {
    at::native::cpu_fallback(op, stack);
  } catch (...) {
    computing = !outermost;
    throw;
  }
  computing = !outermost;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &item);
  m.impl("view", &view);
  m.impl("as_strided", &as_strided);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("resize_", &resize);
  m.impl("set_.source_Storage_storage_offset", &set_source);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

const int registered = [] {
  c10::SetAllocator(kKind, &memory);
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return 0;
}();

} // namespace

extern "C" {
void standin_reset() { bytes_to_host = bytes_to_device = waits = 0; }
void standin_float64(int has) { has_float64 = has; }
void standin_counts(int64_t* counts) {
  counts[0] = bytes_to_host;
  counts[1] = bytes_to_device;
  counts[2] = waits;
}
}
