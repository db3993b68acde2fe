//! Ways through all images, a few at a time.

use super::LatentsError;
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::image::{Image, to_f32};
use fewstep_data::{DataError, ImageShape, LatentsWriter};
use fewstep_kernels::device::Placement;

/// How many parts are encoded in parallel, where there are so many threads.
pub(super) const PARTS: usize = 4;

/// Images that a thread encodes together: big ones one by one, for their maps take much memory.
pub(super) fn together(shape: ImageShape) -> usize {
    const PIXELS: usize = 512 * 512;
    (PIXELS / (shape.height * shape.width)).clamp(1, 16)
}

/// What is made of a batch of images in [-1, 1] whose numbers are these: tensors of `[batch, ...]`.
pub(super) type Make<'a> = dyn Fn(Tensor<4>, &[usize]) -> Vec<Tensor<4>> + Sync + 'a;

/// Ways through all images.
pub(super) struct Pass<'a> {
    pub(super) mirrored: bool,
    /// Images that a thread encodes together.
    pub(super) together: usize,
    pub(super) total: usize,
    pub(super) writer: &'a mut LatentsWriter,
    pub(super) device: &'a Device,
    pub(super) progress: &'a mut dyn FnMut(usize, usize),
}

impl Pass<'_> {
    /// Writes what is made of every image, and, where that is wanted, of the mirrored one after it;
    /// both have numbers.
    pub(super) fn write(
        &mut self,
        all: impl Iterator<Item = Result<Vec<Image>, DataError>>,
        make: &Make,
    ) -> Result<(), LatentsError> {
        let copies = 1 + usize::from(self.mirrored);
        let mut done = 0;
        let together = self.together;
        for images in all {
            let images = images?;
            let starts = (done..).step_by(together);
            let parts: Vec<_> = starts.zip(images.chunks(together)).collect();
            let made = Placement::of(self.device).map(parts, |(start, images)| {
                let plain = batch(images, self.device);
                let made = (0..copies).flat_map(|copy| {
                    let numbers = (start..start + images.len()).map(|i| i * copies + copy);
                    let batch = match copy {
                        0 => plain.clone(),
                        _ => plain.clone().flip([3]),
                    };
                    make(batch, &numbers.collect::<Vec<_>>())
                });
                // [batch, copies, ...]
                values(Tensor::stack::<5>(made.collect(), 1))
            });
            for values in made {
                self.writer.write(&values)?;
            }
            done += images.len();
            (self.progress)(done, self.total);
        }
        Ok(())
    }
}

/// The images as a batch in [-1, 1].
fn batch(images: &[Image], device: &Device) -> Tensor<4> {
    let shape = images[0].shape;
    let pixels = images.iter().flat_map(|image| &image.pixels);
    let pixels: Vec<f32> = pixels.map(|&value| to_f32(value)).collect();
    let shape = [images.len(), shape.channels, shape.height, shape.width];
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // A tensor in memory can always be read back.
    tensor.into_data().try_to_vec().unwrap_or_default()
}
