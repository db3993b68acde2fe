//! What one w adds to a model, in the files of its LoRA.

use super::{
    KOHYA, PEFT, Tensors, entries, export_lora, kohya_name, read, with_all_biases, with_one_rank,
    write,
};
use crate::{FormatError, Model, reading};
use burn::store::ModuleSnapshot;
use fewstep_nn::Backbone;
use std::path::Path;

/// As [`export_lora`], with what this w adds to the model in both files: it goes into the bias of the first layer
/// of the embedding of time, which is exact.
///
/// # Errors
/// As [`export_lora`].
pub fn export_lora_with_w(
    from: &Path,
    to: &Path,
    model: &Model,
    w: f64,
) -> Result<(), FormatError> {
    const LAYER: &str = "time_embedding.linear_1";
    export_lora(from, to)?;
    let fixed = model.with_fixed_w(w);
    let of = |model: &Model, part: &str| parameter(&model.network, &format!("{LAYER}.{part}"));
    let (Some(weight), Some(before), Some(after)) =
        (of(model, "weight"), of(model, "bias"), of(&fixed, "bias"))
    else {
        return Err(FormatError::BadDescription {
            origin: from.display().to_string(),
            reason: format!("its network has no `{LAYER}`"),
        });
    };
    let difference = std::iter::zip(&after, &before).map(|(after, before)| after - before);
    let difference: Vec<f32> = difference.collect();
    let (outputs, inputs) = (before.len(), weight.len() / before.len());
    let change = |file: &str, change: &dyn Fn(&mut Tensors)| {
        let path = to.join(file);
        let mut tensors = read(&path)?;
        change(&mut tensors);
        let mut entries = entries(&reading::bytes(&path)?, &path)?;
        entries.insert("fewstep".into(), fixed.description()?);
        write(&path, &tensors, entries)
    };
    let name = kohya_name(&model.network, LAYER);
    change(KOHYA, &|tensors| {
        with_bias_read_by_all(tensors, &name, inputs, &difference);
    })?;
    change(PEFT, &|tensors| {
        let part = |part: &str| format!("unet.{LAYER}.lora_{part}");
        tensors.insert(part("B.bias"), (vec![outputs], difference.clone()));
        for (name, shape) in [("A.weight", [1, inputs]), ("B.weight", [outputs, 1])] {
            let zeros = || (shape.to_vec(), vec![0.0; shape.iter().product()]);
            tensors.entry(part(name)).or_insert_with(zeros);
        }
        with_all_biases(tensors);
        with_one_rank(tensors);
    })
}

/// Adds a difference of the bias of a linear layer under kohya's names. AUTOMATIC1111's web interface
/// takes it only next to a difference of the weight, and then no product: that of the layer, if it has
/// one, is multiplied out.
fn with_bias_read_by_all(tensors: &mut Tensors, layer: &str, inputs: usize, bias: &[f32]) {
    let mut part = |part: &str| tensors.remove(&format!("{layer}.{part}"));
    let (up, down, alpha) = (
        part("lora_up.weight"),
        part("lora_down.weight"),
        part("alpha"),
    );
    let mut weight = vec![0.0; bias.len() * inputs];
    if let (Some((_, up)), Some((shape, down))) = (up, down) {
        let rank = shape[0];
        let alpha = alpha.and_then(|(_, values)| values.first().copied());
        let scale = alpha.map_or(1.0, |alpha| alpha / rank as f32);
        for (outputs, up) in weight.chunks_exact_mut(inputs).zip(up.chunks_exact(rank)) {
            for (up, down) in up.iter().zip(down.chunks_exact(inputs)) {
                for (sum, down) in outputs.iter_mut().zip(down) {
                    *sum += scale * up * down;
                }
            }
        }
    }
    let mut add = |part: &str, shape, values| {
        tensors.insert(format!("{layer}.{part}"), (shape, values));
    };
    add("diff", vec![bias.len(), inputs], weight);
    add("diff_b", vec![bias.len()], bias.to_vec());
}

/// The values of a parameter of a network.
fn parameter(network: &Backbone, name: &str) -> Option<Vec<f32>> {
    let tensors = network.collect(None, None, true).into_iter();
    let found = tensors.into_iter().find(|tensor| tensor.name == name)?;
    let bytes = found.to_bytes().ok()?;
    let values = bytes.as_chunks().0.iter();
    Some(values.map(|b| f32::from_le_bytes(*b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_has_the_whole_difference_of_its_weight_next_to_it() {
        let product = [
            (
                "x.lora_up.weight",
                vec![3, 2],
                vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            ),
            ("x.lora_down.weight", vec![2, 2], vec![1.0, 0.0, 10.0, 1.0]),
            ("x.alpha", vec![], vec![1.0]),
            ("y.lora_up.weight", vec![1, 1], vec![7.0]),
        ];
        let product = product.map(|(name, shape, values)| (name.to_string(), (shape, values)));
        let mut tensors = Tensors::from(product);
        with_bias_read_by_all(&mut tensors, "x", 2, &[0.5, 0.0, -0.5]);
        // Half of B A, since alpha is half of the rank.
        let whole = (vec![3, 2], vec![10.5, 1.0, 21.5, 2.0, 32.5, 3.0]);
        let expected = [
            ("x.diff", whole),
            ("x.diff_b", (vec![3], vec![0.5, 0.0, -0.5])),
            ("y.lora_up.weight", (vec![1, 1], vec![7.0])),
        ];
        let expected = expected.map(|(name, tensor)| (name.to_string(), tensor));
        assert_eq!(tensors, Tensors::from(expected));

        let mut tensors = Tensors::new();
        with_bias_read_by_all(&mut tensors, "x", 2, &[0.5]);
        assert_eq!(tensors["x.diff"], (vec![1, 2], vec![0.0, 0.0]));
        assert_eq!(tensors["x.diff_b"], (vec![1], vec![0.5]));
    }
}
