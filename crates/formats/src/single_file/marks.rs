//! How a single file of SDXL says that its network predicts v: by tensors of which only the names
//! count. ComfyUI, Forge and stable-diffusion.cpp look for them, and files of other trainers have them.

use crate::tensors::raw::RawTensor;
use fewstep_diffusion::{PredictionKind, SamplerRecipe, ScheduleConfig};
use safetensors::Dtype;
use safetensors::tensor::SafeTensors;
use std::collections::BTreeMap;

/// That it predicts v.
pub(crate) const VELOCITY: &str = "v_pred";
/// That its schedule ends without signal.
pub(crate) const ZERO_TERMINAL_SNR: &str = "ztsnr";

/// Adds the marks of a recipe to the tensors of a file of SDXL.
pub(super) fn add(tensors: &mut BTreeMap<String, RawTensor<'_>>, recipe: &SamplerRecipe) {
    if recipe.prediction != PredictionKind::V {
        return;
    }
    let mut add = |name: &str| {
        let mark = RawTensor::owned(Dtype::F32, vec![1], vec![0; 4]);
        tensors.insert(name.into(), mark);
    };
    add(VELOCITY);
    if has_zero_snr(&recipe.schedule) {
        add(ZERO_TERMINAL_SNR);
    }
}

/// The recipe of the model that gave its configurations, with what a file of another tool says by its
/// marks; `None` where it has none, or says what the recipe has.
pub(super) fn read(file: &SafeTensors<'_>, like: &SamplerRecipe) -> Option<SamplerRecipe> {
    let has = |name: &str| file.tensor(name).is_ok();
    let mut recipe = like.clone();
    if has(VELOCITY) {
        recipe.prediction = PredictionKind::V;
        if let ScheduleConfig::Discrete {
            zero_terminal_snr, ..
        } = &mut recipe.schedule
        {
            *zero_terminal_snr = has(ZERO_TERMINAL_SNR);
        }
    }
    (recipe != *like).then_some(recipe)
}

fn has_zero_snr(schedule: &ScheduleConfig) -> bool {
    match schedule {
        ScheduleConfig::Discrete {
            zero_terminal_snr, ..
        } => *zero_terminal_snr,
        ScheduleConfig::Cosine { .. } => false,
    }
}
