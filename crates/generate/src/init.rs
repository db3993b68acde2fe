//! What an image starts from.

use crate::{ControlImage, GenerateError, from_images};
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::ImageShape;
use fewstep_data::image::{Image, mask_values};
use fewstep_nn::Vae;
use std::sync::Arc;

/// What an image starts from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Init {
    /// Pure noise.
    #[default]
    Noise,
    /// An image with noise added up to the time `strength` in (0, 1]: near 0 it hardly changes, at
    /// 1 hardly anything of it is left (SDEdit, 2108.01073).
    Image {
        /// The image, of the requested size.
        image: Arc<Image>,
        /// How much of it may change.
        strength: f64,
    },
    /// An image with a masked part to fill, for inpainting models. The rest stays as it is.
    Inpaint {
        /// The image, of the requested size.
        image: Arc<Image>,
        /// One channel: at least 128 where the image is to be filled.
        mask: Arc<Image>,
    },
    /// Pure noise, next to an image that the network sees, for models that edit by instruction.
    Instruct {
        /// The image before the edit. The result has its size.
        image: Arc<Image>,
        /// Guidance scale of the image: more than 1 keeps the result closer to it, 1 is no
        /// guidance towards it. None for the model's own, which is all that a student has.
        scale: Option<f64>,
    },
}

impl Init {
    /// Checks the strength, and the images against the shape of the result.
    pub(crate) fn check(&self, shape: ImageShape) -> Result<(), GenerateError> {
        if let Self::Image { strength, .. } = self
            && !(*strength > 0.0 && *strength <= 1.0)
        {
            return Err(GenerateError::Strength(*strength));
        }
        let (image, mask) = match self {
            Self::Noise => (None, None),
            Self::Image { image, .. } | Self::Instruct { image, .. } => (Some(image), None),
            Self::Inpaint { image, mask } => (Some(image), Some(mask)),
        };
        let image = image.map(|image| ("image", image.shape, shape.channels));
        let mask = mask.map(|mask| ("mask", mask.shape, 1));
        for (what, got, channels) in image.into_iter().chain(mask) {
            let [size, expected] = [got, shape].map(|shape| [shape.height, shape.width]);
            if size != expected {
                return Err(GenerateError::InitSize {
                    what,
                    got: size,
                    expected,
                });
            }
            if got.channels != channels {
                return Err(GenerateError::InitChannels {
                    what,
                    got: got.channels,
                    expected: channels,
                });
            }
        }
        Ok(())
    }

    /// Whether images that start from these can share a network call: if they start at the same
    /// time.
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Noise, Self::Noise)
            | (Self::Inpaint { .. }, Self::Inpaint { .. })
            | (Self::Instruct { .. }, Self::Instruct { .. }) => true,
            (Self::Image { strength: a, .. }, Self::Image { strength: b, .. }) => a == b,
            _ => false,
        }
    }

    /// The guidance scale of a source image, where it is not the model's own.
    pub(crate) fn image_scale(&self) -> Option<f64> {
        match self {
            Self::Instruct { scale, .. } => *scale,
            Self::Noise | Self::Image { .. } | Self::Inpaint { .. } => None,
        }
    }

    /// The control image of a model that learnt to inpaint from control images.
    pub(crate) fn control(&self) -> Option<ControlImage> {
        match self {
            Self::Inpaint { image, mask } => Some(ControlImage::masked(image, mask)),
            Self::Noise | Self::Image { .. } | Self::Instruct { .. } => None,
        }
    }

    /// Its shape.
    pub(crate) fn control_shape(&self) -> Option<[usize; 3]> {
        match self {
            Self::Inpaint { image, .. } => Some(ControlImage::masked_shape(image)),
            Self::Noise | Self::Image { .. } | Self::Instruct { .. } => None,
        }
    }

    /// The result, with the part that is not masked put back.
    pub(crate) fn put_back(&self, made: Image) -> Image {
        let Self::Inpaint { image, mask } = self else {
            return made;
        };
        let mask = mask_values(mask);
        let pixels = made.pixels.iter().zip(&image.pixels);
        let pixels = pixels.zip(mask.iter().cycle());
        let pixels = pixels.map(|((made, original), mask)| match *mask == 1.0 {
            true => *made,
            false => *original,
        });
        Image {
            pixels: pixels.collect(),
            shape: made.shape,
        }
    }
}

/// What a network sees next to the latents of each image: for inpainting the mask, then the latents
/// of the image with the masked part in grey; for editing by instruction the latents of the source
/// image. None if an image has neither.
///
/// # Shapes
/// - output: `[images, latent channels, latent height, latent width]`, one channel more for
///   inpainting
pub(crate) fn extra_input(inits: &[&Init], vae: &Vae, device: &Device) -> Option<Tensor<4>> {
    let mut concat: Vec<Tensor<4>> = vec![];
    for same in inits.chunk_by(|a, b| a == b) {
        let pixels = |image: &Image| from_images(std::slice::from_ref(image), device);
        let maps = match same[0] {
            Init::Noise | Init::Image { .. } => return None,
            Init::Inpaint { image, mask } => {
                let shape = [1, 1, mask.shape.height, mask.shape.width];
                let mask = TensorData::new(mask_values(mask), shape);
                vae.inpaint_concat(pixels(image), Tensor::from_data(mask, device))
            }
            Init::Instruct { image, .. } => vae.source_concat(pixels(image)),
        };
        concat.push(maps.repeat_dim(0, same.len()));
    }
    Some(Tensor::cat(concat, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_formats::Pipeline;

    const FOLDER: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../formats/tests/golden/latent/inpaint"
    );

    /// What diffusers' inpainting pipeline gives its U-Net (tools/golden/latent.py).
    #[test]
    fn an_inpainting_model_gets_the_input_that_diffusers_gives() {
        let stored = std::fs::read(format!("{FOLDER}/golden.safetensors")).expect("a file");
        let stored = safetensors::SafeTensors::deserialize(&stored).expect("tensors");
        let values = |name: &str| -> Vec<f32> {
            let tensor = stored.tensor(name).expect("a stored tensor");
            let bytes = tensor.data().chunks_exact(4);
            bytes
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        };
        let image = |name: &str, channels: usize| {
            Arc::new(Image {
                shape: ImageShape {
                    channels,
                    height: 16,
                    width: 16,
                },
                pixels: values(name).iter().map(|&v| v as u8).collect(),
            })
        };
        let device = Device::flex();
        let pipeline = Pipeline::load(FOLDER.as_ref(), &device).expect("a model");
        let init = Init::Inpaint {
            image: image("fill.image", 3),
            mask: image("fill.mask", 1),
        };
        let concat = extra_input(&[&init, &init], &pipeline.vae, &device).expect("concat");
        assert_eq!(concat.dims(), [2, 5, 8, 8]);
        let ours = concat.into_data().try_to_vec::<f32>().expect("f32 data");
        let theirs = values("fill.concat").repeat(2);
        for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!((a - b).abs() < 1e-4, "value {index}: {a} for {b}");
        }
    }

    #[test]
    fn what_is_not_masked_is_put_back() {
        let image = |pixels: [u8; 3], channels| {
            Arc::new(Image {
                shape: ImageShape {
                    channels,
                    height: 1,
                    width: 3 / channels,
                },
                pixels: pixels.to_vec(),
            })
        };
        let init = Init::Inpaint {
            image: image([1, 2, 3], 1),
            mask: image([0, 128, 255], 1),
        };
        let made = Image::clone(&image([7, 8, 9], 1));
        assert_eq!(init.put_back(made.clone()).pixels, [1, 8, 9]);
        assert_eq!(Init::Noise.put_back(made).pixels, [7, 8, 9]);
    }

    const SHAPE: ImageShape = ImageShape {
        channels: 3,
        height: 4,
        width: 8,
    };

    fn flat(shape: ImageShape) -> Arc<Image> {
        Arc::new(Image {
            shape,
            pixels: vec![0; shape.len()],
        })
    }

    fn of_strength(strength: f64) -> Init {
        Init::Image {
            image: flat(SHAPE),
            strength,
        }
    }

    /// Images of the result's size with its channels, masks of one, and a strength in (0, 1].
    #[test]
    fn images_of_another_shape_are_refused() {
        let mask = ImageShape {
            channels: 1,
            ..SHAPE
        };
        let higher = ImageShape { height: 8, ..SHAPE };
        let wider = ImageShape { width: 4, ..SHAPE };
        let inpaint = |image, mask| Init::Inpaint {
            image: flat(image),
            mask: flat(mask),
        };
        let instruct = |image| Init::Instruct {
            image: flat(image),
            scale: None,
        };
        let known = [
            Init::Noise,
            of_strength(1e-3),
            of_strength(1.0),
            inpaint(SHAPE, mask),
            instruct(SHAPE),
        ];
        for init in known {
            assert!(init.check(SHAPE).is_ok(), "{init:?}");
        }
        for strength in [0.0, -0.5, 1.1, f64::NAN] {
            let refused = of_strength(strength).check(SHAPE);
            assert!(matches!(refused, Err(GenerateError::Strength(_))));
        }
        for other in [
            instruct(higher),
            instruct(wider),
            inpaint(SHAPE, ImageShape { height: 8, ..mask }),
            inpaint(wider, mask),
        ] {
            let refused = other.check(SHAPE);
            assert!(
                matches!(refused, Err(GenerateError::InitSize { .. })),
                "{other:?}"
            );
        }
        for other in [instruct(mask), inpaint(SHAPE, SHAPE), inpaint(mask, mask)] {
            let refused = other.check(SHAPE);
            assert!(
                matches!(refused, Err(GenerateError::InitChannels { .. })),
                "{other:?}"
            );
        }
    }

    /// Those that start at the same time, whatever the images.
    #[test]
    fn calls_are_shared_by_what_starts_together() {
        let inpaint = Init::Inpaint {
            image: flat(SHAPE),
            mask: flat(SHAPE),
        };
        let instruct = |scale| Init::Instruct {
            image: flat(SHAPE),
            scale,
        };
        let kinds = [
            Init::Noise,
            of_strength(0.5),
            of_strength(0.6),
            inpaint,
            instruct(None),
        ];
        for (i, a) in kinds.iter().enumerate() {
            for (j, b) in kinds.iter().enumerate() {
                assert_eq!(a.goes_with(b), i == j, "{a:?}, {b:?}");
            }
        }
        assert!(instruct(None).goes_with(&instruct(Some(2.0))));
        assert_eq!(instruct(Some(2.0)).image_scale(), Some(2.0));
        assert!(kinds.iter().all(|init| init.image_scale().is_none()));
        let shapes = kinds.map(|init| (init.control_shape(), init.control().map(|c| c.shape)));
        let masked = Some([4, 4, 8]);
        assert_eq!(shapes[3], (masked, masked));
        let others = [0, 1, 2, 4].map(|kind| shapes[kind]);
        assert_eq!(others, [(None, None); 4]);
    }
}
