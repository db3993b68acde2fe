//! What a request will take of memory, before it is made.

use super::Generator;
use crate::{GenerateError, ImageRequest};
use burn::module::Module;
use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use fewstep_diffusion::Guidance;
use fewstep_diffusion::limits::{IMAGE_SIDE, OutOfRange, within};
use fewstep_kernels::device::Placement;
use fewstep_kernels::memory::Predicted;
use fewstep_nn::Tiles;
use rayon::current_num_threads;

/// Images that are to be generated, all of one size.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How many.
    pub images: u64,
    /// Height and width; by default those that the model was trained on.
    pub size: Option<[usize; 2]>,
    /// Images per network call, at most.
    pub batch: usize,
    /// Guidance weight; by default the model's own.
    pub w: Option<f64>,
}

impl Extent {
    /// Checks height and width.
    ///
    /// # Errors
    /// When one of them is 0, or larger than images are.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let [height, width] = self.size.unwrap_or([1, 1]);
        within("height", height, 1..=IMAGE_SIDE)?;
        within("width", width, 1..=IMAGE_SIDE)
    }
}

impl Generator {
    /// Predicts how much memory these images take: the networks, their maps in one call on every
    /// thread, and the finished images. Nothing is allocated. A GPU has the networks and their maps
    /// in memory of its own, one call at a time, and the host has the images.
    ///
    /// # Errors
    /// When the size is not one of images.
    pub fn memory(&self, extent: &Extent) -> Result<Predicted, GenerateError> {
        extent.check()?;
        let usual = self.image_shape();
        let [height, width] = extent.size.unwrap_or([usual.height, usual.width]);
        let shape = ImageShape {
            height,
            width,
            ..usual
        };
        let wide = |number: usize| number as u128;
        let (images, threads) = (u128::from(extent.images), wide(current_num_threads()));
        let batch = wide(extent.batch.max(1));
        let on_gpu = Placement::of(&self.device).has_own_memory();
        let at_once = match self.latent {
            Some(_) => images.min(batch),
            None if on_gpu => images.min(batch),
            // Each thread has a batch of its own.
            None => images.min(batch.saturating_mul(threads)),
        };
        let (factor, config) = (self.factor(), self.model.network.config());
        let states = match &self.latent {
            Some(latent) => latent.prompts.length()?,
            None => 0,
        };
        let maps = config.forward([height / factor, width / factor], states);
        let guided = self.model.recipe.guidance == Guidance::ClassifierFree
            && self.effective_w(extent.w) != Some(0.0);
        let branches = if guided { 2 } else { 1 };
        let maps = wide(maps) * branches;
        let decoding = self.decoding(shape);
        let parameters = wide(self.model.network.num_params() + self.parameters_of_vae());
        let numbers = parameters + at_once * (maps.max(wide(decoding)) + wide(shape.len()));
        // Every image, and again in the grid of them.
        let each = wide(2 * shape.len() + size_of::<Image>() + size_of::<ImageRequest>());
        let finished = images.saturating_mul(each);
        let bytes = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(match on_gpu {
            true => Predicted {
                host: bytes(finished),
                device: bytes(4 * numbers),
            },
            false => Predicted::of_host(bytes((4 * numbers).saturating_add(finished))),
        })
    }

    /// Numbers that decoding one image holds: the maps of a tile, and the image.
    fn decoding(&self, shape: ImageShape) -> usize {
        let Some(latent) = &self.latent else {
            return 0;
        };
        let tile = Tiles::default().side * self.factor();
        let maps = [shape.height.min(tile), shape.width.min(tile)];
        latent.vae.encoding(maps) + 2 * shape.len()
    }

    fn parameters_of_vae(&self) -> usize {
        let latent = self.latent.as_ref();
        latent.map_or(0, |latent| latent.vae.parameters())
    }
}
