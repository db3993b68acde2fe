//! Tokens as tensors.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The numbers of texts of the same number of tokens, `[texts, tokens]`, and the positions of
/// these, `[1, tokens]`.
pub(crate) fn with_positions(tokens: &[Vec<u32>], device: &Device) -> [Tensor<2, Int>; 2] {
    let (texts, length) = (tokens.len(), tokens.first().map_or(0, Vec::len));
    let numbers: Vec<i32> = tokens.iter().flatten().map(|&t| t as i32).collect();
    let numbers = TensorData::new(numbers, [texts, length]);
    [
        Tensor::from_data(numbers, device),
        Tensor::<1, Int>::arange(0..length as i64, device).unsqueeze(),
    ]
}
