//! Captioned pictures to latents and states, once.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::picture::{Picture, to_f32};
use fewstep_data::{Captioned, Check, DataError, Latents, LatentsHeader, LatentsWriter};
use fewstep_formats::{FormatError, Surroundings, TextEncoder};
use fewstep_kernels::in_lanes;
use fewstep_nn::Codec;
use std::collections::HashMap;
use std::path::Path;

/// Pictures, and texts, that are encoded together.
const TOGETHER: usize = 16;

/// Why there are no latents.
#[derive(Debug, thiserror::Error)]
pub enum LatentsError {
    /// The pictures or the cache cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The networks cannot be used.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// They do not go together.
    #[error("{0}")]
    Misfit(String),
}

/// The latents of the pictures and the states of their captions, out of a cache in `folder`; where it has none, they
/// are made and stored there, after every picture and caption was found good. The file's name follows from the
/// contents of pictures, captions and networks. The networks are in memory one after the other, and only while they
/// work. `fits` is asked whether such latents and states are of use before any are made; `progress` hears of pictures
/// done.
///
/// # Errors
/// See [`LatentsError`]; bad examples are named with their places.
pub fn latents(
    captioned: &Captioned,
    surroundings: &Surroundings,
    mirrored: bool,
    folder: &Path,
    device: &Device,
    fits: &dyn Fn(&LatentsHeader) -> Result<(), String>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Latents, LatentsError> {
    let contents = captioned.check(Check::Present)?;
    let networks = surroundings.digest()?;
    let key = format!("{}-{networks}-{}", contents.fingerprint, u8::from(mirrored));
    let path = folder.join(format!("latents-{key}.safetensors"));
    if let Some(cache) = Latents::open(&path, &key)? {
        fits(cache.header()).map_err(LatentsError::Misfit)?;
        return Ok(cache);
    }
    let (captions, texts) = numbered(&contents.captions);
    let codec = surroundings.codec(device)?;
    let side = captioned.size();
    if !side.is_multiple_of(codec.factor()) || codec.channels() != captioned.channels() {
        return Err(LatentsError::Misfit(format!(
            "the autoencoder takes pictures of {} channels whose side is a multiple of {}, and the data has {} channels and `size` = {side}",
            codec.channels(),
            codec.factor(),
            captioned.channels()
        )));
    }
    let encoder = surroundings.text_encoder(device)?;
    let header = LatentsHeader {
        key: key.clone(),
        name: captioned.name().into(),
        fingerprint: contents.fingerprint,
        some: spread(&texts[1..]),
        captions,
        latent: [
            codec.latent_channels(),
            side / codec.factor(),
            side / codec.factor(),
        ],
        states: [encoder.length(), encoder.width()],
        mirrored,
    };
    drop(encoder);
    fits(&header).map_err(LatentsError::Misfit)?;
    captioned.check(Check::Decoded)?;
    let total = header.captions.len();
    let mut writer = LatentsWriter::create(&path, header)?;
    let mut done = 0;
    for pictures in captioned.pictures(4 * TOGETHER) {
        let pictures = pictures?;
        for latents in encode_pictures(&codec, &pictures, mirrored, device) {
            writer.write(&latents)?;
        }
        done += pictures.len();
        progress(done, total);
    }
    drop(codec);
    let encoder = surroundings.text_encoder(device)?;
    for texts in texts.chunks(4 * TOGETHER) {
        for states in encode_texts(&encoder, texts) {
            writer.write(&states)?;
        }
    }
    writer.finish()?;
    let made = Latents::open(&path, &key)?;
    made.ok_or_else(|| LatentsError::Misfit(format!("{} is gone", path.display())))
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

fn encode_pictures(
    codec: &Codec,
    pictures: &[Picture],
    mirrored: bool,
    device: &Device,
) -> Vec<Vec<f32>> {
    in_lanes(pictures.chunks(TOGETHER).collect(), |pictures| {
        let shape = pictures[0].shape;
        let pixels = pictures.iter().flat_map(|picture| &picture.pixels);
        let pixels: Vec<f32> = pixels.map(|&value| to_f32(value)).collect();
        let shape = [pictures.len(), shape.channels, shape.height, shape.width];
        let batch = Tensor::<4>::from_data(TensorData::new(pixels, shape), device);
        let plain = codec.encode(batch.clone());
        // [batch, copies, channels, height, width]
        let latents: Tensor<5> = match mirrored {
            true => Tensor::stack(vec![plain, codec.encode(batch.flip([3]))], 1),
            false => plain.unsqueeze_dim(1),
        };
        values(latents)
    })
}

fn encode_texts(encoder: &TextEncoder, texts: &[String]) -> Vec<Vec<f32>> {
    in_lanes(texts.chunks(TOGETHER).collect(), |texts| {
        values(encoder.encode(texts).0)
    })
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // A tensor in memory can always be read back.
    tensor.into_data().try_to_vec().unwrap_or_default()
}
