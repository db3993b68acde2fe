//! Whether the teacher and the student to start from go together.

use crate::method::GuidanceWeights;
use fewstep_diffusion::{DistilledFor, Guidance, Role, SamplerRecipe};
use fewstep_nn::BackboneConfig;

/// Checks that the teacher can judge images at every noise level.
pub(super) fn check_judge(teacher: &SamplerRecipe) -> Result<(), String> {
    match teacher.role {
        Role::Teacher
        | Role::Student {
            sampler: DistilledFor::Any,
            ..
        } => Ok(()),
        Role::Student { .. } => Err(
            "the teacher is a student of few steps, which has learnt a few noise levels only: give the teacher that it was distilled from".into(),
        ),
    }
}

/// Checks that teacher and student take the same inputs.
pub(super) fn check_networks([teacher, start]: [BackboneConfig; 2]) -> Result<(), String> {
    let other = match () {
        () if teacher.channels() != start.channels() => "images of other channels",
        () if teacher.concat_channels() != start.concat_channels() => "other images as a condition",
        () if teacher.text_width() != start.text_width() => "texts of another encoder",
        () if teacher.pooled_width() != start.pooled_width() => "texts of another encoder",
        () => return Ok(()),
    };
    Err(format!(
        "the student to start from takes {other} than the teacher: give a student that was distilled from this teacher"
    ))
}

/// Checks that a student makes the images that the teacher judges.
pub(super) fn check_same(teacher: &SamplerRecipe, start: &SamplerRecipe) -> Result<(), String> {
    let other = match () {
        () if teacher.classes != start.classes => "classes",
        () if teacher.resolution != start.resolution => "images of another size",
        () if teacher.schedule != start.schedule => "a noise schedule",
        () if teacher.control != start.control => "control images",
        () if teacher.clip != start.clip => "a range of values",
        () if teacher.clip_skip != start.clip_skip => "a CLIP skip",
        () if guides_otherwise(teacher, start) => "an image guidance scale",
        () => return Ok(()),
    };
    Err(format!(
        "the student to start from has {other} unlike the teacher's: give a student that was distilled from this teacher"
    ))
}

/// Whether a student has another guidance towards its source image folded in than its teacher is
/// guided with.
fn guides_otherwise(teacher: &SamplerRecipe, start: &SamplerRecipe) -> bool {
    let says_one = teacher.image_guidance.or(start.image_guidance).is_some();
    let [of_teacher, of_start] = [teacher, start].map(SamplerRecipe::default_image_guidance);
    says_one && start.guidance != Guidance::None && of_teacher != of_start
}

/// Checks that the student to start from has the deterministic sampler, and for how many steps.
/// `key` is where a recipe says how many are wanted.
pub(super) fn check_sampler(
    key: &str,
    wanted: Option<usize>,
    start: &SamplerRecipe,
) -> Result<(), String> {
    match start.role {
        Role::Student {
            sampler: DistilledFor::Deterministic,
            steps: Some(steps),
        } => match wanted {
            Some(wanted) if wanted != steps => Err(format!(
                "the student to start from has {steps} as its number of steps, and `{key}` is {wanted}: remove it, or give a student with {wanted}"
            )),
            _ => Ok(()),
        },
        Role::Student {
            sampler: DistilledFor::Any | DistilledFor::Deterministic,
            ..
        } => match wanted {
            Some(_) => Ok(()),
            None => Err(format!(
                "the student to start from is for any number of steps: set `{key}`, for example to 1"
            )),
        },
        Role::Student { sampler, .. } => Err(format!(
            "the student to start from was distilled for the {sampler} sampler: give a student of stage two with `halving = \"deterministic\"`"
        )),
        Role::Teacher => {
            Err("the student to start from is a teacher: give a student of stage two".into())
        }
    }
}

/// Checks that teacher and student take w as the method does.
pub(super) fn check_w(
    weights: Option<GuidanceWeights>,
    teacher: Guidance,
    start: Guidance,
) -> Result<(), String> {
    match (weights, start) {
        (None, Guidance::None) | (Some(GuidanceWeights::Range(_)), Guidance::Input { .. }) => {}
        (Some(GuidanceWeights::Single(w)), Guidance::Fixed { w: of_start }) if w == of_start => {}
        (_, Guidance::Input { .. }) => {
            return Err(
                "the student to start from takes w as an input: give a range, `w = [min, max]`, or remove `w`".into(),
            );
        }
        (_, Guidance::Fixed { w }) => {
            return Err(format!(
                "the student to start from was distilled for w = {w} only: remove `w`"
            ));
        }
        (Some(_), Guidance::None) => {
            return Err(
                "the student to start from knows no guidance, so `w` has no meaning: remove it"
                    .into(),
            );
        }
        (_, Guidance::ClassifierFree) => {
            return Err(
                "the student to start from has two branches for guidance: give a student of guided distillation".into(),
            );
        }
    }
    match (weights, teacher) {
        (Some(_), Guidance::None) => Err(
            "the student is for guidance, and the teacher has no unconditional branch to guide with: give the teacher that the student was distilled from".into(),
        ),
        (Some(GuidanceWeights::Range(_)), Guidance::Fixed { .. })
        | (Some(GuidanceWeights::Single(_)) | None, Guidance::Input { .. }) => Err(
            "teacher and student do not take w alike: give the teacher that the student was distilled from".into(),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_nn::{TextAttention, UNetConfig};

    #[test]
    fn networks_of_other_inputs_are_refused() {
        let with = |channels, width: Option<usize>, concat| -> BackboneConfig {
            let text = width.map(|width| TextAttention {
                width,
                linear: false,
            });
            let config = UNetConfig {
                channels,
                text,
                concat,
                ..UNetConfig::default()
            };
            config.into()
        };
        let teacher = || with(4, Some(12), 0);
        assert!(check_networks([teacher(), teacher()]).is_ok());
        for (start, said) in [
            (with(3, Some(12), 0), "channels"),
            (with(4, Some(16), 0), "texts"),
            (with(4, None, 0), "texts"),
            (with(4, Some(12), 4), "condition"),
        ] {
            let error = check_networks([teacher(), start]).expect_err("refused");
            assert!(error.contains(said), "{error}");
        }
    }
}
