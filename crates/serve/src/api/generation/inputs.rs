//! Sizes, and the images that a request starts from or is controlled by, for a model.

use super::{Generation, Manners, Start};
use crate::config::Limits;
use crate::error::ApiError;
use fewstep_data::DataError;
use fewstep_data::image::Layer;
use fewstep_diffusion::{ControlSpec, Task};
use fewstep_generate::{ControlImage, GenerateError, Generator, Init};
use std::sync::Arc;

/// Height and width of the images, what they start from, and their control image.
pub(super) struct Inputs {
    pub(super) size: [usize; 2],
    pub(super) init: Init,
    pub(super) control: Option<Arc<ControlImage>>,
}

impl Generation {
    pub(super) fn inputs(
        &self,
        generator: &Generator,
        notes: &mut Vec<String>,
    ) -> Result<Inputs, ApiError> {
        let (size, given) = match (&self.control, generator.image_condition()) {
            (None, _) => (self.size(generator, notes)?, None),
            (Some(_), _) if generator.inpaints() => {
                let message = "this model fills masked parts of images: give an `image` and a `mask` instead of a `control` image";
                return Err(ApiError::field("control", message));
            }
            (Some(_), None) => {
                let message = "this model takes no control image";
                return Err(ApiError::field("control", message));
            }
            (Some(layer), Some(spec)) => {
                let of_control = self.control_size(layer, spec, generator, notes)?;
                let size = size_for(generator, spec, of_control).ok_or_else(ApiError::internal)?;
                let image = match spec.task {
                    Task::Depth => layer.depth("`control`").map_err(wrong("control"))?,
                    _ => layer.image(spec.shape[0]),
                };
                (size, Some(image.covering(of_control)))
            }
        };
        let shaped = |layer: &Layer| layer.image(generator.image_shape().channels).covering(size);
        let (source, control) = match generator.edits_by_instruction() {
            true => (given, None),
            false => (
                None,
                given.map(|image| Arc::new(ControlImage::from(&image))),
            ),
        };
        let init = match &self.start {
            Start::Noise => match source {
                None => Init::Noise,
                Some(image) => Init::Instruct {
                    image: image.into(),
                    scale: None,
                },
            },
            Start::Image { .. } if generator.edits_by_instruction() => {
                let message = "this model edits images by instruction: give the image as `control`";
                return Err(ApiError::field("image", message));
            }
            Start::Image { image, strength } => Init::Image {
                image: shaped(image).into(),
                strength: *strength,
            },
            // Before the mask is judged.
            Start::Inpaint { .. } if !generator.inpaints() => {
                return Err(GenerateError::NotForInpainting.into());
            }
            Start::Inpaint { image, mask, kind } => Init::Inpaint {
                image: shaped(image).into(),
                mask: mask
                    .mask(*kind, "`mask`")
                    .map_err(wrong("mask"))?
                    .covering(size)
                    .into(),
            },
        };
        Ok(Inputs {
            size,
            init,
            control,
        })
    }

    /// Height and width of the images.
    fn size(&self, generator: &Generator, notes: &mut Vec<String>) -> Result<[usize; 2], ApiError> {
        let usual = generator.image_shape();
        let usual = [usual.height, usual.width];
        let Some([height, width]) = self.size else {
            return Ok(usual);
        };
        let multiple = generator.size_multiple();
        let is_multiple = |side: usize| side > 0 && side.is_multiple_of(multiple);
        if is_multiple(height) && is_multiple(width) && is_allowed([height, width], usual) {
            return Ok([height, width]);
        }
        let most = Limits::GROWTH * usual[0] * usual[1];
        let rule = format!(
            "width and height must be multiples of {multiple}, with at most {most} pixels in all"
        );
        self.other_size(usual, &rule, notes)?;
        Ok(usual)
    }

    /// Height and width of the control image: those that give the size that was asked for, or its
    /// own if they fit, or those that the model was trained with.
    fn control_size(
        &self,
        layer: &Layer,
        spec: ControlSpec,
        generator: &Generator,
        notes: &mut Vec<String>,
    ) -> Result<[usize; 2], ApiError> {
        let usual = generator.image_shape();
        let usual = [usual.height, usual.width];
        let trained = [spec.shape[1], spec.shape[2]];
        let fits = |control: [usize; 2]| {
            size_for(generator, spec, control).filter(|size| is_allowed(*size, usual))
        };
        let own = layer.size();
        let Some(asked) = self.size else {
            if fits(own).is_some() {
                return Ok(own);
            }
            notes.push(format!(
                "the control image of {}x{} is scaled and cropped to {}x{}, with which the model was trained: give `width` and `height` for another size",
                own[1], own[0], trained[1], trained[0]
            ));
            return Ok(trained);
        };
        let scaled = [0, 1].map(|axis| asked[axis].saturating_mul(trained[axis]) / usual[axis]);
        if fits(scaled) == Some(asked) {
            return Ok(scaled);
        }
        let near = [0, 1].map(|axis| scaled[axis].clamp(1, 2 * trained[axis]));
        let near = size_for(generator, spec, generator.fitting(near)).unwrap_or(usual);
        let rule = format!("{}x{} would do", near[1], near[0]);
        self.other_size(usual, &rule, notes)?;
        Ok(trained)
    }

    /// A size that does not fit: refused, or with a note that the usual one is taken.
    fn other_size(
        &self,
        usual: [usize; 2],
        rule: &str,
        notes: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let [height, width] = self.size.unwrap_or(usual);
        let [own_height, own_width] = usual;
        if self.manners == Manners::Adapting {
            notes.push(format!(
                "images of {own_width}x{own_height} instead of {width}x{height}, which do not fit this model"
            ));
            return Ok(());
        }
        Err(ApiError::field(
            "size",
            format!(
                "images of {width}x{height} do not fit this model, which was trained on {own_width}x{own_height}: {rule}"
            ),
        ))
    }
}

/// Height and width of the images that are generated from a control image of this height and width,
/// if it fits.
fn size_for(generator: &Generator, spec: ControlSpec, control: [usize; 2]) -> Option<[usize; 2]> {
    let shape = generator.shape_for([spec.shape[0], control[0], control[1]]);
    shape.ok().map(|shape| [shape.height, shape.width])
}

/// Whether an image has no more pixels than the server allows for a model of the usual size.
fn is_allowed(size: [usize; 2], usual: [usize; 2]) -> bool {
    size[0].saturating_mul(size[1]) <= Limits::GROWTH * usual[0] * usual[1]
}

fn wrong(field: &str) -> impl Fn(DataError) -> ApiError {
    move |error| ApiError::field(field, error.to_string())
}
