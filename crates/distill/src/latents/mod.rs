//! Images with captions or classes to latents and states, once.

mod file;
mod pass;
mod texts;

pub use file::LatentsFile;

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::{
    Check, Contents, DataError, ImageShape, Latents, LatentsHeader, LatentsWriter, Masks, Source,
};
use fewstep_formats::{FormatError, PipelineComponents};
use fewstep_nn::Vae;
use pass::{PARTS, Pass, together};
use rayon::current_num_threads;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use texts::encode_texts;

/// Texts that a thread encodes together.
const TEXTS_TOGETHER: usize = 16;

/// What is encoded of each image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copies {
    /// Its mirrored image too.
    pub mirrored: bool,
    /// What a model sees next to it.
    pub extra: Option<ExtraCopies>,
}

/// What is encoded of each image for a model that sees other images next to it.
#[derive(Clone, Copy, Debug)]
pub enum ExtraCopies {
    /// The masked image with its masks, for models that do inpainting.
    Masked(Masks),
    /// The image given with it, for models that edit by instruction.
    Source,
}

impl ExtraCopies {
    /// Masks of each image.
    fn masks(self) -> usize {
        match self {
            Self::Masked(masks) => masks.each,
            Self::Source => 0,
        }
    }
}

impl Copies {
    /// Whether the images given with the images of a set are encoded too.
    pub fn has_sources(self) -> bool {
        matches!(self.extra, Some(ExtraCopies::Source))
    }
}

/// Why there are no latents.
#[derive(Debug, thiserror::Error)]
pub enum LatentsError {
    /// The images or the cache cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The networks cannot be used.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// They do not go together.
    #[error("{0}")]
    Misfit(String),
}

/// The latents of images and the states of their captions or classes: in a cache, or checked and
/// yet to be made.
#[derive(Debug)]
pub struct Encoding<'a> {
    source: &'a Source,
    components: &'a PipelineComponents,
    copies: Copies,
    device: &'a Device,
    path: PathBuf,
    /// The number of the first mask.
    first_mask: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Made(Latents),
    Planned {
        header: LatentsHeader,
        /// All captions that differ, after the empty text.
        texts: Vec<String>,
        /// Predicted peak memory of making them.
        bytes: u64,
    },
}

impl<'a> Encoding<'a> {
    /// Looks for the cache in `folder`, and where it has none, what it will hold; no image is
    /// decoded. The file's name follows from the contents of images, captions and networks.
    ///
    /// # Errors
    /// See [`LatentsError`]; bad examples are named with their places.
    pub fn find(
        source: &'a Source,
        components: &'a PipelineComponents,
        copies: Copies,
        folder: &Path,
        device: &'a Device,
    ) -> Result<Self, LatentsError> {
        let contents = source.check(Check::Present)?;
        let digest = match copies.has_sources() {
            true => format!("{}-{}", contents.fingerprint, contents.sources),
            false => contents.fingerprint.clone(),
        };
        let cache = LatentsFile::of(&digest, components, copies, folder)?;
        match cache.open()? {
            None => Self::planned(source, components, copies, (cache, 0), device, contents),
            Some(made) => Ok(Self {
                source,
                components,
                copies,
                device,
                path: cache.path,
                first_mask: 0,
                state: State::Made(made),
            }),
        }
    }

    /// What the cache of a shard of a set will hold. `cache` is its file, whose name follows from
    /// the shard's `identity` instead of its contents.
    ///
    /// # Errors
    /// As [`Encoding::find`].
    pub fn of_shard(
        source: &'a Source,
        components: &'a PipelineComponents,
        copies: Copies,
        (cache, identity): (LatentsFile, &str),
        device: &'a Device,
    ) -> Result<Self, LatentsError> {
        let contents = source.check(Check::Present)?;
        // Masks have numbers, and the shards of a set others.
        let first = u64::from_str_radix(identity, 16).unwrap_or_default();
        Self::planned(source, components, copies, (cache, first), device, contents)
    }

    fn planned(
        source: &'a Source,
        components: &'a PipelineComponents,
        copies: Copies,
        (cache, first_mask): (LatentsFile, u64),
        device: &'a Device,
        contents: Contents,
    ) -> Result<Self, LatentsError> {
        let (captions, texts) = numbered(&contents.captions);
        let (latent, encoding) = of_vae(source, components, device)?;
        let (states, pooled, reading) = of_texts(components, device)?;
        let ImageShape { height, width, .. } = source.shape();
        let header = LatentsHeader {
            key: cache.key,
            name: source.name().into(),
            fingerprint: contents.fingerprint,
            some: spread(&texts[1..]),
            captions,
            latent,
            states,
            pooled,
            image: match pooled {
                0 => [0, 0],
                _ => [height, width],
            },
            mirrored: copies.mirrored,
            classes: source.classes().to_vec(),
            masks: copies.extra.map_or(0, ExtraCopies::masks),
            source_images: copies.has_sources(),
        };
        Ok(Self {
            source,
            components,
            copies,
            device,
            path: cache.path,
            first_mask,
            state: State::Planned {
                header,
                texts,
                bytes: encoding.max(reading),
            },
        })
    }

    /// What the latents and states are, or will be.
    pub fn header(&self) -> &LatentsHeader {
        match &self.state {
            State::Made(latents) => latents.header(),
            State::Planned { header, .. } => header,
        }
    }

    /// Predicted peak memory of making them, where they are not there.
    pub fn bytes(&self) -> Option<u64> {
        match self.state {
            State::Made(_) => None,
            State::Planned { bytes, .. } => Some(bytes),
        }
    }

    /// The latents and states out of the cache, made first where they are not there, after every
    /// image was found good. The networks are in memory one after the other, and only while they
    /// work. `progress` is given the number of images done, and of all.
    ///
    /// Models for inpainting take the latents of the masked image, which depend on the mask. They
    /// are made here too, for a few masks of each image: encoding costs more than a call of the
    /// U-Net, and made once it costs the run neither time nor the autoencoder's memory. So are the
    /// latents of source images, for models that edit by instruction.
    ///
    /// # Errors
    /// See [`LatentsError`]; bad examples are named with their places.
    pub fn latents(self, progress: &mut dyn FnMut(usize, usize)) -> Result<Latents, LatentsError> {
        let (header, texts) = match self.state {
            State::Made(latents) => return Ok(latents),
            State::Planned { header, texts, .. } => (header, texts),
        };
        let (source, device) = (self.source, self.device);
        source.check(Check::Decoded)?;
        let total = header.captions.len();
        let key = header.key.clone();
        let mut writer = LatentsWriter::create(&self.path, header)?;
        let vae = self.components.vae(device)?;
        let pass = &mut Pass {
            mirrored: self.copies.mirrored,
            together: together(source.shape()),
            total,
            writer: &mut writer,
            device,
            progress,
        };
        let chunk = PARTS * together(source.shape());
        pass.write(source.images(chunk), &|images, _| vec![vae.encode(images)])?;
        match self.copies.extra {
            None => {}
            Some(ExtraCopies::Masked(masks)) => {
                pass.write(source.images(chunk), &|images, numbers| {
                    masked(&vae, images, masks, (numbers, self.first_mask))
                })?;
            }
            Some(ExtraCopies::Source) => {
                let given = source.given(chunk).ok_or_else(|| no_sources(source))?;
                pass.write(given, &|images, _| vec![vae.source_concat(images)])?;
            }
        }
        drop(vae);
        let encoder = self.components.text_encoder(device)?;
        let skipped = self.components.clip_skip();
        let mut all_pooled = vec![];
        for (number, some) in texts.chunks(PARTS * TEXTS_TOGETHER).enumerate() {
            for (part, mut embeds) in encode_texts(&encoder, (some, skipped), device)
                .into_iter()
                .enumerate()
            {
                // The first text of all is the empty one.
                if number + part == 0 && encoder.zero_empty() {
                    embeds.clear_first(some.len().min(TEXTS_TOGETHER));
                }
                writer.write(&embeds.states)?;
                all_pooled.extend(embeds.pooled);
            }
        }
        writer.write(&all_pooled)?;
        writer.finish()?;
        let made = Latents::open(&self.path, &key)?;
        made.ok_or_else(|| LatentsError::Misfit(format!("{} is gone", self.path.display())))
    }
}

/// What an inpainting model sees of each image with each of its masks. The images have numbers,
/// and the masks from `first` on.
fn masked(
    vae: &Vae,
    images: Tensor<4>,
    masks: Masks,
    (numbers, first): (&[usize], u64),
) -> Vec<Tensor<4>> {
    let [count, _, height, width] = images.dims();
    let turns = (0..masks.each).map(|turn| {
        let number = |copy: &usize| first.wrapping_add((copy * masks.each + turn) as u64);
        let hidden = numbers
            .iter()
            .flat_map(|copy| masks.mask(number(copy), height, width));
        let hidden = TensorData::new(hidden.collect::<Vec<f32>>(), [count, 1, height, width]);
        let hidden = Tensor::from_data(hidden, &images.device());
        vae.inpaint_concat(images.clone(), hidden)
    });
    turns.collect()
}

fn no_sources(source: &Source) -> LatentsError {
    LatentsError::Misfit(format!(
        "{}: the model sees a source image next to each image, and the data gives none",
        source.name()
    ))
}

/// Channels, height and width of the latents, and the bytes that making them takes.
fn of_vae(
    source: &Source,
    components: &PipelineComponents,
    device: &Device,
) -> Result<([usize; 3], u64), LatentsError> {
    let vae = components.vae(device)?;
    let factor = vae.factor();
    let shape @ ImageShape {
        channels,
        height,
        width,
    } = source.shape();
    let whole = [height, width]
        .iter()
        .all(|side| side.is_multiple_of(factor));
    if !whole || vae.channels() != channels {
        return Err(LatentsError::Misfit(format!(
            "the autoencoder takes images of {} channels whose sides are multiples of {factor}, and the data gives {shape}: set its `size` and `channels`",
            vae.channels(),
        )));
    }
    let parameters = vae.parameters();
    let at_once = current_num_threads().min(PARTS) * together(shape);
    // The network's maps, and the images as numbers and as the network's input.
    let pixels = channels * height * width;
    let encoding = at_once * (vae.encoding([height, width]) + 2 * pixels);
    let latent = [vae.latent_channels(), height / factor, width / factor];
    let decoded = PARTS * together(shape) * pixels;
    let bytes = 4 * (parameters + encoding) + decoded;
    Ok((latent, bytes as u64))
}

/// Tokens of a text and features of one state, features of a pooled embedding, and the bytes that
/// reading the encoder takes.
fn of_texts(
    components: &PipelineComponents,
    device: &Device,
) -> Result<([usize; 2], usize, u64), LatentsError> {
    let encoder = components.text_encoder(device)?;
    let skips = encoder.check_clip_skip(components.clip_skip());
    skips.map_err(LatentsError::Misfit)?;
    let states = [encoder.length(), encoder.width()];
    Ok((
        states,
        encoder.pooled(),
        4 * 2 * encoder.parameters() as u64,
    ))
}

/// A few texts from all over the list.
fn spread(texts: &[String]) -> Vec<String> {
    const SOME: usize = 16;
    let step = texts.len().div_ceil(SOME).max(1);
    texts.iter().step_by(step).cloned().collect()
}

/// The number of each caption in a list of all different ones, which starts with the empty text.
fn numbered(captions: &[String]) -> (Vec<u32>, Vec<String>) {
    let mut texts = vec![String::new()];
    let mut known: HashMap<&str, u32> = HashMap::new();
    let numbers = captions.iter().map(|caption| {
        *known.entry(caption).or_insert_with(|| {
            texts.push(caption.clone());
            texts.len() as u32 - 1
        })
    });
    (numbers.collect(), texts)
}
