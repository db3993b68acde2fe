//! What a LoRA adds to one layer.

use burn::tensor::{Device, Tensor, TensorData};

/// What is added to a layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Addition {
    /// A, `[rank, inputs]`: shape and values.
    pub(super) down: Option<(Vec<usize>, Vec<f32>)>,
    /// B, `[outputs, rank]`.
    pub(super) up: Option<(Vec<usize>, Vec<f32>)>,
    /// Counts alpha / rank times; 1 without it.
    pub(super) alpha: Option<f32>,
    pub(super) diff: Option<Vec<f32>>,
    pub(super) diff_bias: Option<Vec<f32>>,
    /// What is added to the bias as often as the product to the weight; none where it is zero, as it is
    /// for layers without bias.
    pub(super) up_bias: Option<Vec<f32>>,
}

impl Addition {
    /// The parameters of the layer that it changes.
    pub(super) fn parts(&self) -> impl Iterator<Item = &'static str> {
        let weight = self.has_matrices() || self.diff.is_some();
        let bias = self.diff_bias.is_some() || self.up_bias.is_some();
        let parts = [("weight", weight), ("bias", bias)];
        parts
            .into_iter()
            .filter_map(|(part, is)| is.then_some(part))
    }

    /// Whether it has any part of a product.
    fn has_matrices(&self) -> bool {
        self.down.is_some() || self.up.is_some() || self.alpha.is_some()
    }

    /// What is added to the weight or the bias, of this shape, outputs first; none if nothing is. An
    /// error says what does not fit.
    pub(super) fn to(
        &self,
        part: &str,
        shape: &[usize],
        device: &Device,
    ) -> Option<Result<Vec<f32>, String>> {
        let difference = match part {
            "weight" => &self.diff,
            "bias" => &self.bias(),
            _ => return None,
        };
        let (product, difference) = match (part == "weight" && self.has_matrices(), difference) {
            (true, difference) => (self.product(shape, device), difference.as_ref()),
            (false, Some(difference)) => (Ok(difference.clone()), None),
            (false, None) => return None,
        };
        Some(product.and_then(|mut sum| {
            for (sum, difference) in sum.iter_mut().zip(difference.into_iter().flatten()) {
                *sum += difference;
            }
            let numbers = shape.iter().product::<usize>();
            match difference.map_or(sum.len(), Vec::len) == numbers && sum.len() == numbers {
                true => Ok(sum),
                false => Err(format!(
                    "a difference of another shape than its {part} of {shape:?}"
                )),
            }
        }))
    }

    /// What is added to the bias.
    fn bias(&self) -> Option<Vec<f32>> {
        let Some(up) = &self.up_bias else {
            return self.diff_bias.clone();
        };
        let scale = self.scale();
        let mut sum: Vec<f32> = up.iter().map(|value| value * scale).collect();
        let more = self.diff_bias.iter().flatten();
        sum.iter_mut()
            .zip(more)
            .for_each(|(sum, more)| *sum += more);
        Some(sum)
    }

    /// How many times the product counts.
    fn scale(&self) -> f32 {
        let rank = self.down.as_ref().and_then(|(shape, _)| shape.first());
        let rank = rank.copied().unwrap_or(1);
        self.alpha.map_or(1.0, |alpha| alpha / rank as f32)
    }

    /// B A, for a weight of this shape.
    fn product(&self, shape: &[usize], device: &Device) -> Result<Vec<f32>, String> {
        let Some((down, up)) = self.down.as_ref().zip(self.up.as_ref()) else {
            return Err("one of its two matrices is missing".into());
        };
        let rank = down.0.first().copied().unwrap_or(0);
        let outputs = shape.first().copied().unwrap_or(0);
        let inputs = shape.iter().skip(1).product::<usize>();
        if rank == 0 || down.1.len() != rank * inputs || up.1.len() != outputs * rank {
            return Err(format!(
                "matrices of {:?} and {:?} do not fit a weight of {shape:?}",
                down.0, up.0
            ));
        }
        let matrix = |values: &Vec<f32>, shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(values.clone(), shape), device)
        };
        let product = matrix(&up.1, [outputs, rank]).matmul(matrix(&down.1, [rank, inputs]));
        Ok(product
            .mul_scalar(self.scale())
            .into_data()
            .iter()
            .collect())
    }
}
