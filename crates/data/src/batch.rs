//! Batches on the host.

use crate::image::to_f32;
use crate::{Conditions, DataError, Dataset, ExampleOrder};
use fewstep_diffusion::Inputs;

/// A batch on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// The clock of the first sample: how many samples the run saw before it.
    pub clock: u64,
    /// The examples' indices in the dataset, one per sample.
    pub indices: Vec<u64>,
    /// Images in [-1, 1], x / 127.5 - 1, or latents: [channels, height, width] each.
    pub images: HostArray<3>,
    /// What the network is given with each: class, caption, control image, mask and masked image.
    pub inputs: HostInputs,
}

/// [`Inputs`] on the host. The empty prompt has embeddings for all samples together.
pub type HostInputs = Inputs<HostArray<3>, HostTexts>;

/// The embeddings of texts on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTexts {
    /// The states of each, [tokens, width].
    pub states: HostArray<2>,
    /// The pooled embedding of each, for models that take it.
    pub pooled: Option<HostArray<1>>,
}

/// Arrays of one shape, one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct HostArray<const N: usize> {
    /// All values, row by row.
    pub values: Vec<f32>,
    /// The shape of each array.
    pub shape: [usize; N],
}

impl HostBatch {
    /// How many samples it has.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// The batch of `size` samples that starts at `clock`. The `order` must have `dataset.len()`
/// examples.
///
/// # Errors
/// When the images that conditions are made from cannot be read from disk.
pub fn batch(
    dataset: &Dataset,
    conditions: Option<&Conditions>,
    order: &mut ExampleOrder,
    clock: u64,
    size: usize,
) -> Result<HostBatch, DataError> {
    let shape = dataset.shape;
    let mut control = conditions.map(HostArray::of_conditions);
    let mut indices = Vec::with_capacity(size);
    let mut classes = Vec::with_capacity(size);
    let mut pixels: Vec<f32> = Vec::with_capacity(size * shape.len());
    for sample in 0..size as u64 {
        let draw = order.at(clock + sample);
        indices.push(draw.index as u64);
        classes.push(dataset.label(draw.index));
        let image = dataset.pixels(draw.index);
        match draw.flip {
            false => pixels.extend(image.iter().map(|&value| to_f32(value))),
            true => {
                let rows = image.chunks_exact(shape.width);
                let mirrored = rows.flat_map(|row| row.iter().rev());
                pixels.extend(mirrored.map(|&value| to_f32(value)));
            }
        }
        if let Some((conditions, control)) = conditions.zip(control.as_mut()) {
            let image = &pixels[sample as usize * shape.len()..];
            let source = conditions.source(draw)?;
            let source = source.as_deref().unwrap_or(image);
            control.add_condition(conditions, source, order.seed(), clock + sample);
        }
    }
    let labelled = dataset.labels().is_some();
    Ok(HostBatch {
        clock,
        indices,
        images: HostArray {
            values: pixels,
            shape: [shape.channels, shape.height, shape.width],
        },
        inputs: Inputs {
            classes: labelled.then_some(classes),
            control,
            ..Inputs::default()
        },
    })
}

impl HostArray<3> {
    /// An empty array of control images.
    pub(crate) fn of_conditions(conditions: &Conditions) -> Self {
        Self {
            values: vec![],
            shape: conditions.shape(),
        }
    }

    /// Adds the control image made of `source`.
    pub(crate) fn add_condition(
        &mut self,
        conditions: &Conditions,
        source: &[f32],
        seed: u64,
        clock: u64,
    ) {
        self.values.extend(conditions.make(source, seed, clock));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ImageShape;

    pub(crate) fn numbered(len: usize) -> Dataset {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 2,
        };
        let pixels = (0..len as u8).flat_map(|i| [i, 255 - i]).collect();
        let labels = (0..len as u32).map(|i| i % 3).collect();
        Dataset::from_parts("numbered", shape, pixels, Some(labels), Vec::new()).unwrap()
    }

    #[test]
    fn a_batch_holds_the_examples_of_the_order() {
        let dataset = numbered(10);
        let mut order = ExampleOrder::new(1, 10, true);
        let batch = batch(&dataset, None, &mut order, 5, 12).unwrap();
        assert_eq!(
            (batch.clock, batch.len(), batch.images.values.len()),
            (5, 12, 24)
        );
        for sample in 0..12 {
            let draw = order.at(5 + sample as u64);
            assert_eq!(batch.indices[sample], draw.index as u64);
            assert_eq!(
                batch.inputs.classes.as_ref().unwrap()[sample],
                Some(draw.index as u32 % 3)
            );
            let mut expected = [draw.index as f32, 255.0 - draw.index as f32];
            if draw.flip {
                expected.reverse();
            }
            assert_eq!(
                batch.images.values[2 * sample..][..2],
                expected.map(|x| x / 127.5 - 1.0)
            );
        }
    }

    #[test]
    fn flipping_mirrors_rows_within_each_channel() {
        let rgb = ImageShape {
            channels: 3,
            height: 2,
            width: 3,
        };
        let pixels: Vec<u8> = (0..18).collect();
        let dataset = Dataset::from_parts("one", rgb, pixels, None, Vec::new()).unwrap();
        let mut order = ExampleOrder::new(0, 1, true);
        let clock = (0..100).find(|&clock| order.at(clock).flip).unwrap();
        let flipped = batch(&dataset, None, &mut order, clock, 1).unwrap();
        let expected = [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9, 14, 13, 12, 17, 16, 15].map(to_f32);
        assert_eq!(flipped.images.values, expected);
        assert_eq!(flipped.inputs.classes, None);
    }
}
