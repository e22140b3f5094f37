"""The divergence in chunks against its definition in double precision, differentiated by autograd."""

import pytest
import torch

from sds_core.models import divergence as module
from sds_core.models.divergence import divergence


def by_definition(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    q, p = student.double().softmax(-1), teacher.double().softmax(-1)
    return (p * (p.log() - q.log())).sum(-1).mean()


@pytest.mark.parametrize("chunk", [1, 33, 1 << 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_loss_and_gradient(chunk: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    student, teacher = (4 * torch.randn(7, 11, generator=generator) for _ in range(2))
    one, other = student.to(dtype).requires_grad_(), student.to(dtype).requires_grad_()
    found, wanted = divergence(one, teacher.to(dtype)), by_definition(other, teacher.to(dtype))
    (1024 * found).backward()
    (1024 * wanted).backward()
    assert found.dtype == torch.float32 and found.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert one.grad is not None and other.grad is not None and one.grad.dtype == dtype
    rounding = 4 * torch.finfo(dtype).eps
    assert torch.allclose(one.grad, other.grad, rtol=rounding, atol=rounding)


def test_none_from_itself_and_no_gradient_where_none_is_asked() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    assert divergence(logits, logits.clone()).item() == 0
    assert not divergence(logits, -logits).requires_grad
