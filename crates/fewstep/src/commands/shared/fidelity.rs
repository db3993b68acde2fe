//! How near a model's images are to those that its teacher generates from the same noise.

use super::measure::{CHUNK, SampledModel, metrics_error};
use crate::error::{CliError, CliResult};
use fewstep_data::image::Image;
use fewstep_diffusion::Guidance;
use fewstep_generate::ImageRequest;
use fewstep_metrics::{
    Images, Lpips, MeanInterval, MetricsError, channel_means, contrast, mse, psnr, sharpness,
};
use serde::{Deserialize, Serialize};

/// How near a model's images are to its teacher's, each with the 95 % interval over the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fidelity {
    /// Squared error of values in [-1, 1].
    pub(crate) mse: MeanInterval,
    /// In dB; equal images count as if one value differed by one step.
    pub(crate) psnr: MeanInterval,
    /// Only with the weights of its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lpips: Option<MeanInterval>,
    /// Of each channel, how much higher its mean is than the teacher's, in 8-bit values.
    pub(crate) colour: Vec<MeanInterval>,
    /// In multiples of the teacher's.
    pub(crate) contrast: MeanInterval,
    /// In multiples of the teacher's.
    pub(crate) sharpness: MeanInterval,
}

impl Fidelity {
    /// Compares a model's images with the teacher's.
    pub(crate) fn of(
        images: &[Image],
        teacher: &[Image],
        lpips: Option<&Lpips>,
    ) -> CliResult<Self> {
        let [ours, theirs] = [images, teacher].map(pixels);
        let shape = match (images, teacher) {
            ([a, ..], [b, ..]) if a.shape == b.shape && images.len() == teacher.len() => a.shape,
            _ => {
                return Err(CliError::input(
                    "the model and its teacher generate images of different shapes",
                ));
            }
        };
        let measure = || -> Result<Self, MetricsError> {
            let of = |pixels| Images::new(shape.channels, shape.height, shape.width, pixels);
            let (ours, theirs) = (of(&ours)?, of(&theirs)?);
            // Equal images have no PSNR.
            let highest = 10.0 * (255f64.powi(2) * shape.len() as f64).log10();
            let psnr: Vec<f64> = psnr(ours, theirs)?
                .into_iter()
                .map(|value| value.min(highest))
                .collect();
            let means = [ours, theirs].map(channel_means);
            let colour = |channel: usize| {
                let pairs = means[0].iter().zip(&means[1]);
                let change: Vec<f64> = pairs.map(|(a, b)| a[channel] - b[channel]).collect();
                MeanInterval::of(&change)
            };
            Ok(Self {
                mse: MeanInterval::of(&mse(ours, theirs)?)?,
                psnr: MeanInterval::of(&psnr)?,
                lpips: match lpips {
                    Some(lpips) => Some(MeanInterval::of(&lpips.distances(ours, theirs)?)?),
                    None => None,
                },
                colour: (0..shape.channels).map(colour).collect::<Result<_, _>>()?,
                contrast: MeanInterval::of_ratio(&contrast(ours), &contrast(theirs))?,
                sharpness: MeanInterval::of_ratio(&sharpness(ours), &sharpness(theirs))?,
            })
        };
        measure().map_err(metrics_error)
    }
}

/// The w that a model follows at one time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EffectiveW {
    pub(crate) t: f64,
    #[serde(flatten)]
    pub(crate) w: MeanInterval,
}

/// What a model follows of w, by time, measured on the teacher's images for these requests; empty
/// for a teacher without guidance.
pub(crate) fn effective_w(
    model: &SampledModel,
    (teacher, images): (&SampledModel, &[Image]),
    requests: &[ImageRequest],
    batch: usize,
) -> CliResult<Vec<EffectiveW>> {
    let (Guidance::ClassifierFree | Guidance::Input { .. }, Some(w)) =
        (teacher.generator.model().recipe.guidance, model.w)
    else {
        return Ok(vec![]);
    };
    let kept = model.generator.kept_guidance(
        model.steps,
        (&teacher.generator, teacher.steps),
        (requests, images),
        w,
        batch,
    )?;
    let effective = kept.iter().map(|kept| {
        let w = MeanInterval::of_ratio(&kept.along, &kept.length).map_err(metrics_error)?;
        Ok(EffectiveW { t: kept.t, w })
    });
    effective.collect()
}

/// A mean with its interval, with this many digits.
pub(crate) fn interval(value: MeanInterval, digits: usize) -> String {
    format!("{:.digits$} ± {:.digits$}", value.mean, value.half_width)
}

/// A ratio as a change in percent, with its interval.
pub(crate) fn percent(ratio: MeanInterval) -> String {
    let (change, half_width) = (100.0 * (ratio.mean - 1.0), 100.0 * ratio.half_width);
    format!("{change:+.1} ± {half_width:.1} %")
}

/// The images of these requests, a few hundred at a time. `progress` gets the number that are done.
pub(crate) fn generate_all(
    model: &SampledModel,
    requests: &[ImageRequest],
    batch: usize,
    progress: &mut (dyn FnMut(usize) + Send),
) -> CliResult<Vec<Image>> {
    let mut images = Vec::with_capacity(requests.len());
    for some in requests.chunks(CHUNK) {
        let before = images.len();
        images.extend(model.generate(some.to_vec(), batch, &mut |done| progress(before + done))?);
    }
    Ok(images)
}

fn pixels(images: &[Image]) -> Vec<u8> {
    images.iter().flat_map(|i| &i.pixels).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_data::ImageShape;

    fn image(pixels: [u8; 4]) -> Image {
        let shape = ImageShape {
            channels: 1,
            height: 2,
            width: 2,
        };
        Image {
            pixels: pixels.to_vec(),
            shape,
        }
    }

    fn measured(images: &[Image], teacher: &[Image]) -> Fidelity {
        match Fidelity::of(images, teacher, None) {
            Ok(fidelity) => fidelity,
            Err(_) => panic!("equal shapes are measured"),
        }
    }

    /// Two images by hand: the same with 3 added, and with half the contrast.
    #[test]
    fn drift_is_that_by_hand() {
        let teacher = [image([100, 120, 100, 120]), image([50, 50, 90, 90])];
        let brighter = [image([103, 123, 103, 123]), image([53, 53, 93, 93])];
        let found = measured(&brighter, &teacher);
        assert!((found.mse.mean - 9.0 / 127.5f64.powi(2)).abs() < 1e-12);
        assert!((found.psnr.mean - 10.0 * (255f64.powi(2) / 9.0).log10()).abs() < 1e-9);
        assert_eq!(found.colour.len(), 1);
        assert_eq!(
            (found.colour[0].mean, found.colour[0].half_width),
            (3.0, 0.0)
        );
        assert_eq!((found.contrast.mean, found.sharpness.mean), (1.0, 1.0));
        let flatter = [image([105, 115, 105, 115]), image([60, 60, 80, 80])];
        let found = measured(&flatter, &teacher);
        assert_eq!((found.contrast.mean, found.sharpness.mean), (0.5, 0.5));
        assert_eq!(found.colour[0].mean, 0.0);
        let equal = measured(&teacher, &teacher);
        assert!(equal.psnr.mean.is_finite() && equal.mse.mean == 0.0);
        assert!(Fidelity::of(&teacher[..1], &teacher, None).is_err());
    }
}
