//! Small patches as channels.

use burn::tensor::Tensor;

/// Folds patches of `side` x `side` pixels into channels: `[b, c, h, w]` to `[b, c side², h/side,
/// w/side]`, in PyTorch's `pixel_unshuffle` order.
pub(crate) fn fold_patches(x: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return x;
    }
    let [batch, channels, height, width] = x.dims();
    let (rows, columns) = (height / side, width / side);
    x.reshape([batch, channels, rows, side, columns, side])
        .permute([0, 1, 3, 5, 2, 4])
        .reshape([batch, channels * side * side, rows, columns])
}

/// The inverse of [`fold_patches`].
pub(crate) fn unfold_patches(x: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return x;
    }
    let [batch, folded, rows, columns] = x.dims();
    let channels = folded / (side * side);
    x.reshape([batch, channels, side, side, rows, columns])
        .permute([0, 1, 4, 2, 5, 3])
        .reshape([batch, channels, rows * side, columns * side])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};

    #[test]
    fn patches_fold_as_pixel_unshuffle_does() {
        let x = Tensor::<1, Int>::arange(0..16, &Device::flex())
            .float()
            .reshape([1, 1, 4, 4]);
        let folded = fold_patches(x.clone(), 2);
        let expected = [
            0., 2., 8., 10., 1., 3., 9., 11., 4., 6., 12., 14., 5., 7., 13., 15f32,
        ];
        let values = folded.clone().into_data().try_to_vec::<f32>();
        assert_eq!(values.expect("f32 data"), expected);
        unfold_patches(folded, 2)
            .into_data()
            .assert_eq(&x.into_data(), true);
    }
}
