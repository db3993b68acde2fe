//! Whether the teacher and the student to start from go together.

use crate::method::GuidanceWeights;
use fewstep_diffusion::{DistilledFor, Guidance, Role, SamplerRecipe};
use fewstep_nn::BackboneConfig;

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
    use fewstep_diffusion::{
        ControlSpec, IMAGE_GUIDANCE_SCALE, PredictionKind, Provenance, ScheduleConfig, Task,
    };
    use fewstep_nn::{TextAttention, TextTime, UNetConfig};

    #[test]
    fn networks_of_other_inputs_are_refused() {
        let of_two = |channels, width: Option<usize>, concat, pooled: Option<usize>| {
            let text = width.map(|width| TextAttention {
                width,
                linear: false,
            });
            let config = UNetConfig {
                channels,
                text,
                concat,
                text_time: pooled.map(|pooled| TextTime { pooled, dim: 4 }),
                ..UNetConfig::default()
            };
            BackboneConfig::from(config)
        };
        let with = |channels, width, concat| of_two(channels, width, concat, None);
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
        // Of SDXL's two encoders the second is also pooled.
        let sdxl = |pooled| of_two(4, Some(12), 0, Some(pooled));
        assert!(check_networks([sdxl(10), sdxl(10)]).is_ok());
        for pair in [
            [sdxl(10), sdxl(12)],
            [sdxl(10), teacher()],
            [teacher(), sdxl(10)],
        ] {
            let error = check_networks(pair).expect_err("refused");
            assert!(error.contains("texts"), "{error}");
        }
    }

    /// Of a student with four deterministic steps, and of its teacher but for role and guidance.
    fn recipe() -> SamplerRecipe {
        SamplerRecipe {
            version: 1,
            role: role(DistilledFor::Deterministic, Some(4)),
            prediction: PredictionKind::V,
            schedule: ScheduleConfig::default(),
            guidance: INPUT,
            image_guidance: None,
            resolution: [1, 8, 8],
            classes: vec!["a".into()],
            clip: true,
            clip_skip: 0,
            control: None,
            default_sampler: None,
            provenance: Provenance::default(),
        }
    }

    fn role(sampler: DistilledFor, steps: Option<usize>) -> Role {
        Role::Student { sampler, steps }
    }

    const INPUT: Guidance = Guidance::Input {
        w_min: 0.0,
        w_max: 2.0,
        default: 1.0,
    };
    const FIXED: Guidance = Guidance::Fixed { w: 1.5 };
    const RANGE: Option<GuidanceWeights> = Some(GuidanceWeights::Range([0.0, 2.0]));
    const ONE: Option<GuidanceWeights> = Some(GuidanceWeights::Single(1.5));

    fn said(checked: Result<(), String>) -> String {
        checked.expect_err("refused")
    }

    #[test]
    fn a_student_of_other_images_is_refused() {
        assert!(check_same(&recipe(), &recipe()).is_ok());
        let mirror = ControlSpec {
            task: Task::Image,
            shape: [1, 8, 8],
        };
        let changes: [(SamplerRecipe, &str); 7] = [
            (
                SamplerRecipe {
                    classes: vec![],
                    ..recipe()
                },
                "classes",
            ),
            (
                SamplerRecipe {
                    resolution: [1, 8, 16],
                    ..recipe()
                },
                "another size",
            ),
            (
                SamplerRecipe {
                    schedule: ScheduleConfig::Cosine {
                        log_snr_min: -10.0,
                        log_snr_max: 10.0,
                    },
                    ..recipe()
                },
                "schedule",
            ),
            (
                SamplerRecipe {
                    control: Some(mirror),
                    ..recipe()
                },
                "control images",
            ),
            (
                SamplerRecipe {
                    clip: false,
                    ..recipe()
                },
                "range of values",
            ),
            (
                SamplerRecipe {
                    clip_skip: 1,
                    ..recipe()
                },
                "CLIP skip",
            ),
            (
                SamplerRecipe {
                    image_guidance: Some(9.0),
                    ..recipe()
                },
                "image guidance",
            ),
        ];
        for (start, what) in changes {
            let message = said(check_same(&recipe(), &start));
            assert!(message.contains(what), "{message}");
        }
    }

    /// Only a scale that is folded in, and that one of both names, can be another one.
    #[test]
    fn image_guidance_is_compared_where_it_is_folded_in() {
        let with = |guidance, image_guidance| SamplerRecipe {
            guidance,
            image_guidance,
            ..recipe()
        };
        let plain = with(Guidance::ClassifierFree, None);
        assert!(!guides_otherwise(&plain, &with(INPUT, None)));
        assert!(!guides_otherwise(
            &plain,
            &with(INPUT, Some(IMAGE_GUIDANCE_SCALE))
        ));
        assert!(guides_otherwise(&plain, &with(INPUT, Some(9.0))));
        assert!(guides_otherwise(
            &with(Guidance::ClassifierFree, Some(9.0)),
            &with(INPUT, None)
        ));
        // A student without guidance has none folded in, and a teacher without has a scale of 1.
        assert!(!guides_otherwise(&plain, &with(Guidance::None, Some(9.0))));
        assert!(!guides_otherwise(
            &with(Guidance::None, None),
            &with(INPUT, None)
        ));
    }

    #[test]
    fn only_deterministic_students_go_on() {
        let of = |role, wanted| {
            let start = SamplerRecipe { role, ..recipe() };
            check_sampler("matching.steps", wanted, &start)
        };
        let deterministic = |steps| role(DistilledFor::Deterministic, steps);
        assert!(of(deterministic(Some(4)), None).is_ok());
        assert!(of(deterministic(Some(4)), Some(4)).is_ok());
        assert!(said(of(deterministic(Some(4)), Some(2))).contains("`matching.steps` is 2"));
        for role in [deterministic(None), role(DistilledFor::Any, None)] {
            assert!(of(role.clone(), Some(1)).is_ok());
            assert!(said(of(role, None)).contains("set `matching.steps`"));
        }
        let stochastic = role(DistilledFor::Stochastic, Some(4));
        assert!(said(of(stochastic, None)).contains("stochastic sampler"));
        assert!(said(of(Role::Teacher, None)).contains("is a teacher"));
    }

    #[test]
    fn w_is_taken_alike_by_all() {
        use Guidance::{ClassifierFree, None as Unguided};
        for (weights, teacher, start) in [
            (None, ClassifierFree, Unguided),
            (None, Unguided, Unguided),
            (RANGE, ClassifierFree, INPUT),
            (RANGE, INPUT, INPUT),
            (ONE, ClassifierFree, FIXED),
            (ONE, FIXED, FIXED),
        ] {
            let checked = check_w(weights, teacher, start);
            assert_eq!(checked, Ok(()), "{weights:?} {teacher:?} {start:?}");
        }
        for (weights, teacher, start, what) in [
            (None, ClassifierFree, INPUT, "give a range"),
            (ONE, ClassifierFree, INPUT, "give a range"),
            (RANGE, ClassifierFree, FIXED, "for w = 1.5 only"),
            (
                Some(GuidanceWeights::Single(2.0)),
                ClassifierFree,
                FIXED,
                "for w = 1.5 only",
            ),
            (RANGE, ClassifierFree, Unguided, "knows no guidance"),
            (RANGE, ClassifierFree, ClassifierFree, "two branches"),
            (RANGE, Unguided, INPUT, "no unconditional branch"),
            (ONE, Unguided, FIXED, "no unconditional branch"),
            (RANGE, FIXED, INPUT, "alike"),
            (ONE, INPUT, FIXED, "alike"),
            (None, INPUT, Unguided, "alike"),
        ] {
            let message = said(check_w(weights, teacher, start));
            assert!(message.contains(what), "{message}");
        }
    }
}
