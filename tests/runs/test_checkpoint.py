import numpy as np
import pytest
import torch

from sds_core.runs import checkpoint


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (5, 16), (7, 9)])
def test_masks_survive_packing_and_equal_numpys_bits(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    packed = checkpoint.packed_mask(mask)
    assert packed.numpy().tobytes() == np.packbits(mask.numpy(), bitorder="little").tobytes()
    assert torch.equal(checkpoint.unpacked_mask(packed, shape), mask)
