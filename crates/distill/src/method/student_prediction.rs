//! What a student's network predicts.

use super::MethodError;
use fewstep_diffusion::{PredictionKind, Role, SamplerRecipe, Schedule, ScheduleConfig};
use fewstep_nn::TrainedPart;
use serde::{Deserialize, Serialize};

/// The least α at t = 1 with which x̂ = (z − σ ε̂) / α is still of use: an error of ε̂ is twenty
/// times as large in x̂. Stable Diffusion ends at 0.068.
const SIGNAL: f64 = 0.05;

/// What the network of a student predicts.
///
/// Few steps start at t = 1, where x̂ follows from ε̂ only if the schedule leaves some signal. Where
/// it does, a student of a teacher of ε̂ keeps ε̂: that is what other programs expect of such a
/// model, and it starts out as its teacher. Else it learns v, which follows from the teacher's ε̂ by
/// formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StudentPrediction {
    /// As the teacher, except for ε̂ on a schedule that ends without signal: v then.
    #[default]
    Auto,
    /// As the teacher.
    Teacher,
    /// v.
    V,
    /// v for a teacher of ε̂, as the teacher for others: the stages of version 0.1.0, whose recipes
    /// do not say.
    #[serde(skip)]
    VForNoise,
}

impl StudentPrediction {
    /// What a student of this teacher predicts.
    pub(super) fn of(self, teacher: &SamplerRecipe) -> PredictionKind {
        match (self, teacher.prediction) {
            (Self::V, _) => PredictionKind::V,
            (Self::VForNoise, PredictionKind::Eps) => PredictionKind::V,
            (Self::Auto, PredictionKind::Eps) if !keeps_signal(&teacher.schedule) => {
                PredictionKind::V
            }
            (Self::Auto | Self::Teacher | Self::VForNoise, kind) => kind,
        }
    }
}

/// Checks what a student predicts against its schedule, and what is trained of it: a network that
/// moves only in part cannot turn from ε̂ to v.
pub(crate) fn check_prediction(
    teacher: &SamplerRecipe,
    student: &SamplerRecipe,
    part: TrainedPart,
) -> Result<(), MethodError> {
    if !matches!(student.role, Role::Student { .. }) {
        return Ok(());
    }
    let message = match (teacher.prediction, student.prediction, part) {
        (PredictionKind::Eps, PredictionKind::Eps, _) if !keeps_signal(&student.schedule) => {
            "the teacher predicts the noise, and its schedule ends without signal, where no image follows from that: set `student_prediction = \"v\"`"
        }
        (from, to, TrainedPart::Lora | TrainedPart::ControlNet) if from != to => {
            "the student would predict v and the teacher predicts something else, which a LoRA or a ControlNet cannot make up for: train all weights, or set `student_prediction = \"teacher\"` if the schedule allows it"
        }
        _ => return Ok(()),
    };
    Err(MethodError::Teacher(message.into()))
}

fn keeps_signal(schedule: &ScheduleConfig) -> bool {
    // A schedule that is not valid is refused where it is used.
    Schedule::new(schedule.clone()).is_ok_and(|schedule| schedule.at(1.0).alpha() >= SIGNAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_diffusion::{BetaSchedule, DistilledFor, Guidance, Provenance};

    fn recipe(prediction: PredictionKind, schedule: ScheduleConfig) -> SamplerRecipe {
        SamplerRecipe {
            version: 1,
            role: Role::Student {
                sampler: DistilledFor::Any,
                steps: None,
            },
            prediction,
            schedule,
            guidance: Guidance::ClassifierFree,
            image_guidance: None,
            resolution: [1, 2, 2],
            classes: vec![],
            clip: true,
            clip_skip: 0,
            control: None,
            default_sampler: None,
            provenance: Provenance::default(),
        }
    }

    fn discrete(betas: BetaSchedule, [start, end]: [f64; 2], zero: bool) -> ScheduleConfig {
        ScheduleConfig::Discrete {
            betas,
            beta_start: start,
            beta_end: end,
            steps: 1000,
            zero_terminal_snr: zero,
            clean_end: false,
        }
    }

    #[test]
    fn noise_is_kept_where_the_schedule_ends_with_signal() {
        let stable_diffusion = |zero| discrete(BetaSchedule::ScaledLinear, [0.00085, 0.012], zero);
        let ddpm = discrete(BetaSchedule::Linear, [0.0001, 0.02], false);
        for (schedule, auto) in [
            (stable_diffusion(false), PredictionKind::Eps),
            (stable_diffusion(true), PredictionKind::V),
            (ddpm, PredictionKind::V),
            (ScheduleConfig::default(), PredictionKind::V),
        ] {
            let teacher = recipe(PredictionKind::Eps, schedule);
            assert_eq!(StudentPrediction::Auto.of(&teacher), auto);
            for v in [StudentPrediction::V, StudentPrediction::VForNoise] {
                assert_eq!(v.of(&teacher), PredictionKind::V);
            }
            assert_eq!(StudentPrediction::Teacher.of(&teacher), PredictionKind::Eps);
            let kept = check_prediction(&teacher, &teacher, TrainedPart::All);
            assert_eq!(kept.is_ok(), auto == PredictionKind::Eps);
        }
    }

    #[test]
    fn a_part_of_a_network_keeps_what_it_predicts() {
        let of = |kind| {
            recipe(
                kind,
                discrete(BetaSchedule::ScaledLinear, [0.00085, 0.012], false),
            )
        };
        let (eps, v) = (of(PredictionKind::Eps), of(PredictionKind::V));
        for part in [TrainedPart::Lora, TrainedPart::ControlNet] {
            assert!(check_prediction(&eps, &v, part).is_err());
            assert!(check_prediction(&eps, &eps, part).is_ok());
            assert!(check_prediction(&v, &v, part).is_ok());
        }
        assert!(check_prediction(&eps, &v, TrainedPart::All).is_ok());
    }
}
