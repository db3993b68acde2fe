//! Changing an image with a request that does not say how: what it means depends on the model.

use super::generation::Start;
use fewstep_data::image::{Layer, MaskKind};
use fewstep_generate::Generator;

/// An image to change, as the APIs of other servers send it.
pub(crate) struct Edit {
    pub(crate) image: Layer,
    pub(crate) mask: Option<(Layer, MaskKind)>,
    pub(crate) strength: f64,
}

impl Edit {
    /// What the images start from, and the control image: a model that inpaints takes the mask, or
    /// the transparent parts of the image; one with control images, or that edits by instruction,
    /// takes the image as that; others start from the image with noise.
    pub(crate) fn for_model(self, generator: &Generator) -> (Start, Option<Layer>) {
        let Self {
            image,
            mask,
            strength,
        } = self;
        let cut_out = || image.has_transparent_parts().then(|| image.clone());
        let mask = match generator.inpaints() {
            true => mask.or_else(|| cut_out().map(|image| (image, MaskKind::Transparent))),
            false => mask,
        };
        match mask {
            Some((mask, kind)) => (Start::Inpaint { image, mask, kind }, None),
            None if generator.image_condition().is_some() => (Start::Noise, Some(image)),
            None => (Start::Image { image, strength }, None),
        }
    }
}
