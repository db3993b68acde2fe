//! What a request will take of memory, before it is made.

use super::{Generator, LatentParts};
use crate::{GenerateError, ImageRequest};
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
    /// Bytes of its weights in memory, with autoencoder and, while it is there, text encoder.
    pub fn weight_bytes(&self) -> u64 {
        self.bytes_without_encoder() + 4 * self.encoder_parameters() as u64
    }

    /// Predicts how much memory these images take: the networks, their maps in one call on every
    /// thread, and the finished images. Nothing is allocated. A GPU has the networks and their maps
    /// in memory of its own, one call at a time, and the host has the images. A text encoder that has
    /// left is not counted: it would be read again for new prompts.
    ///
    /// # Errors
    /// When the size is not one of images.
    pub fn memory(&self, extent: &Extent) -> Result<Predicted, GenerateError> {
        let (images, batch) = (u128::from(extent.images), extent.batch.max(1) as u128);
        let calls = match self.latent.is_some() || self.is_on_gpu() {
            true => 1,
            // Each thread has a batch of its own.
            false => current_num_threads() as u128,
        };
        self.memory_of(extent, images.min(batch.saturating_mul(calls)), 0)
    }

    /// The same where this number of images goes through the networks at once, next to `other`
    /// weights of so many bytes.
    pub(crate) fn memory_of(
        &self,
        extent: &Extent,
        at_once: u128,
        other: u64,
    ) -> Result<Predicted, GenerateError> {
        extent.check()?;
        let usual = self.image_shape();
        let [height, width] = extent.size.unwrap_or([usual.height, usual.width]);
        let shape = ImageShape {
            height,
            width,
            ..usual
        };
        let wide = |number: usize| number as u128;
        let images = u128::from(extent.images);
        let (factor, config) = (self.factor(), self.model.network.config());
        let states = match &self.latent {
            Some(latent) => latent.prompts.facts().length,
            None => 0,
        };
        let maps = config.forward([height / factor, width / factor], states);
        let branches = match self.model.recipe.guidance {
            Guidance::ClassifierFree if self.edits_by_instruction() => 3,
            Guidance::ClassifierFree if self.effective_w(extent.w) != Some(0.0) => 2,
            _ => 1,
        };
        let maps = wide(maps) * branches;
        let decoding = self.decoding(shape);
        let generating = at_once * (maps.max(wide(decoding)) + wide(shape.len()));
        let encoder = wide(self.encoder_parameters());
        // An encoder that does not stay has left before the images are generated.
        let work = match self.keeps_encoder() {
            true => generating + encoder,
            false => generating.max(encoder),
        };
        let weights = u128::from(self.bytes_without_encoder() + other);
        // Every image, and again in the grid of them.
        let each = wide(2 * shape.len() + size_of::<Image>() + size_of::<ImageRequest>());
        let finished = images.saturating_mul(each);
        let bytes = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
        let computing = weights + 4 * work;
        Ok(match self.is_on_gpu() {
            true => Predicted {
                host: bytes(finished),
                device: bytes(computing),
            },
            false => Predicted::of_host(bytes(computing.saturating_add(finished))),
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

    /// Of the network as it is stored, with its ControlNet, of the autoencoder, and of the embeddings
    /// that a text encoder left.
    fn bytes_without_encoder(&self) -> u64 {
        let of_latents =
            |latent: &LatentParts| latent.vae.parameters() + latent.prompts.embeds_in_memory();
        let numbers = self.latent.as_ref().map_or(0, of_latents);
        self.model.network.stored_bytes() + 4 * numbers as u64
    }

    fn encoder_parameters(&self) -> usize {
        let latent = self.latent.as_ref();
        latent.map_or(0, |latent| latent.prompts.encoder_in_memory())
    }

    fn is_on_gpu(&self) -> bool {
        Placement::of(&self.device).has_own_memory()
    }

    fn keeps_encoder(&self) -> bool {
        let latent = self.latent.as_ref();
        latent.is_some_and(|latent| latent.prompts.keeps_encoder())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeepEncoder;
    use burn::tensor::Device;
    use fewstep_formats::Pipeline;
    use fewstep_nn::{Precision, WeightFormat};

    fn pipeline(name: &str) -> Pipeline {
        let folder = format!(
            "{}/../formats/tests/golden/latent/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        Pipeline::load(folder.as_ref(), &Device::flex()).expect("a model")
    }

    fn generator(name: &str, keep: KeepEncoder) -> Generator {
        Generator::latent(pipeline(name), keep, &Device::flex()).expect("a generator")
    }

    const ONE: Extent = Extent {
        images: 1,
        size: None,
        batch: 1,
        w: None,
    };

    /// A picture and what is known of it, for itself and in the grid of all.
    fn finished(images: u64, height: usize, width: usize, channels: usize) -> u64 {
        let records = size_of::<Image>() + size_of::<ImageRequest>();
        images * (2 * channels * height * width + records) as u64
    }

    /// Counted by what there is at one time: the weights, and either the text encoder and a call or,
    /// where the encoder leaves before, the larger of both. A call has the maps of all branches of the
    /// U-Net and then those of the decoder's tile with the image twice, next to the image itself.
    #[test]
    fn latents_take_what_is_there_at_one_time() {
        let (mut network_decides, mut decoder_decides) = (false, false);
        let sizes = [[8, 8], [16, 16], [8, 32], [264, 16], [16, 264]];
        let batches = [(1, 1, 1), (5, 1, 1), (5, 3, 3), (2, 0, 1)];
        for (name, states, of_no_guidance, of_guidance) in [
            ("sd1", 77, 1, 2),
            ("classes", 1, 1, 2),
            ("instruct", 77, 3, 3),
        ] {
            let parts = pipeline(name);
            let keeps = [KeepEncoder::Always, KeepEncoder::WhileEncoding];
            let [stays, leaves] = keeps.map(|keep| generator(name, keep));
            let network = &parts.model.network;
            let encoder = 4 * parts.text_encoder.parameters() as u64;
            let weights = network.stored_bytes() + 4 * parts.vae.parameters() as u64;
            for (size @ [height, width], (images, batch, together)) in sizes
                .into_iter()
                .flat_map(|size| batches.map(|batch| (size, batch)))
            {
                // A tile has 64 latents, of two pixels each, on a side.
                let tile = parts.vae.encoding([height.min(128), width.min(128)]);
                let decoding = tile + 2 * 3 * height * width;
                let shape = ImageShape {
                    channels: 3,
                    height,
                    width,
                };
                assert_eq!(stays.decoding(shape), decoding);
                let maps = network.config().forward([height / 2, width / 2], states);
                for (w, branches) in [
                    (None, of_no_guidance),
                    (Some(0.0), of_no_guidance),
                    (Some(2.0), of_guidance),
                ] {
                    let maps = branches * maps;
                    network_decides |= maps > decoding;
                    decoder_decides |= maps < decoding;
                    let image = maps.max(decoding) + 3 * height * width;
                    let calls = 4 * (together * image) as u64;
                    let done = weights + finished(images, height, width, 3);
                    let extent = Extent {
                        images,
                        size: Some(size),
                        batch,
                        w,
                    };
                    let predicted = |generator: &Generator| {
                        let predicted = generator.memory(&extent).expect("a size");
                        assert_eq!(predicted.device, 0);
                        predicted.host
                    };
                    assert_eq!(predicted(&stays), done + encoder + calls);
                    assert_eq!(predicted(&leaves), done + encoder.max(calls));
                }
            }
        }
        assert!(network_decides && decoder_decides);
    }

    /// Once texts are encoded, an encoder that does not stay counts no more, and their embeddings do.
    #[test]
    fn an_encoder_that_has_left_is_not_counted() {
        let leaves = generator("sd1", KeepEncoder::WhileEncoding);
        let before = leaves.weight_bytes();
        let encoder = &pipeline("sd1").text_encoder;
        let prompts = ["a cat", "a dog"].map(|prompt| ImageRequest {
            subject: crate::Subject::Prompt(prompt.into()),
            ..ImageRequest::new(0, 0)
        });
        leaves.prepare(&prompts, "rain").expect("encoded");
        let embeds = 3 * encoder.length() * encoder.width();
        let after = before - 4 * encoder.parameters() as u64 + 4 * embeds as u64;
        assert_eq!(leaves.weight_bytes(), after);
    }

    /// Of pixels every thread makes a batch, of latents one goes through the network at a time.
    #[test]
    fn pixels_take_as_much_on_every_thread() {
        let device = Device::flex();
        let source = crate::ModelSource::find("builtin:fashion-mnist-teacher", None);
        let model = source.and_then(|s| s.model(&device)).expect("embedded");
        let weights = model.network.stored_bytes();
        let maps = model.network.config().forward([32, 32], 0);
        let pixels = Generator::new(model, &device).expect("a generator");
        assert_eq!(pixels.weight_bytes(), weights);
        let latents = generator("sd1", KeepEncoder::Always);
        let threads = rayon::ThreadPoolBuilder::new().num_threads(3);
        let threads = threads.build().expect("threads");
        let memory = |generator: &Generator, images, batch, w| {
            let extent = Extent {
                images,
                batch,
                w,
                ..ONE
            };
            let predicted = threads.install(|| generator.memory(&extent));
            predicted.expect("a size").host
        };
        for (images, batch, together) in [(1, 8, 1), (5, 8, 5), (40, 8, 24), (40, 1, 3)] {
            for (w, branches) in [(None, 1), (Some(0.0), 1), (Some(2.0), 2)] {
                let calls = 4 * together * (branches * maps as u64 + 32 * 32);
                let expected = weights + calls + finished(images, 32, 32, 1);
                assert_eq!(memory(&pixels, images, batch, w), expected, "{images}");
            }
        }
        let of_batch = |batch| memory(&latents, 6, batch, None) - memory(&latents, 6, 1, None);
        assert_eq!(of_batch(6), 5 * of_batch(2));
        // Nothing overflows.
        let most = Extent {
            images: u64::MAX,
            size: Some([IMAGE_SIDE; 2]),
            batch: usize::MAX,
            w: Some(1.0),
        };
        assert_eq!(latents.memory(&most).expect("a size").host, u64::MAX);
    }

    #[test]
    fn sizes_that_no_image_has_are_refused() {
        let generator = generator("sd1", KeepEncoder::Always);
        for (size, taken) in [
            ([0, 16], false),
            ([16, 0], false),
            ([IMAGE_SIDE + 1, 16], false),
            ([16, IMAGE_SIDE + 1], false),
            ([IMAGE_SIDE, 16], true),
            ([16, IMAGE_SIDE], true),
        ] {
            let size = Some(size);
            let extent = Extent { size, ..ONE };
            assert_eq!(extent.check().is_ok(), taken, "{size:?}");
            assert_eq!(generator.memory(&extent).is_ok(), taken, "{size:?}");
        }
        assert!(ONE.check().is_ok());
    }

    /// Only the weights of the network's blocks are in fewer bits; the file has all in 16.
    #[test]
    fn weights_count_as_they_are_stored() {
        let device = Device::flex();
        let generator = |stored| {
            let mut pipeline = pipeline("sd1");
            let network = pipeline.model.network.with_weight_dtype(stored);
            pipeline.model.network = network;
            Generator::latent(pipeline, KeepEncoder::Always, &device).expect("a generator")
        };
        let [whole, half] = [Precision::F32, Precision::F16].map(generator);
        let network = whole.model.parameters() as u64;
        let vae = whole.latent.as_ref().map_or(0, |l| l.vae.parameters()) as u64;
        let text = whole.encoder_parameters() as u64;
        assert_eq!(whole.weight_bytes(), 4 * (network + vae + text));
        let less = whole.weight_bytes() - half.weight_bytes();
        assert!(less > network && less < 2 * network, "{less} of {network}");
        let [whole, half] = [whole, half].map(|g| g.memory(&ONE).expect("a size").host);
        assert!(half < whole, "{half} of {whole}");
    }

    /// Numbers in blocks take 8 bits each, and a scale in 32 for each 32.
    #[test]
    fn blocks_count_with_their_scales() {
        let stored = |format| {
            let network = pipeline("sd1").model.network.with_weight_format(format);
            network.stored_bytes()
        };
        let half = stored(WeightFormat::Floats(Precision::F16));
        let blocks = stored(WeightFormat::Q8_0);
        // 32 numbers take 36 bytes instead of 64.
        let less = half - blocks;
        assert!(less > 0 && less.is_multiple_of(64 - 36), "{less}");
    }
}
