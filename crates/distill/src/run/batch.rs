//! Training examples on their way to the device.

use crate::method::Batch;
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::{HostArray, HostBatch, HostTexts};
use fewstep_diffusion::{Inputs, PromptEmbeds, TextEmbeds};

/// A batch of the update that starts at a clock.
pub fn to_device(host: &HostBatch, update: u64, device: &Device) -> Batch {
    let maps = |maps: &HostArray<3>| {
        let [channels, height, width] = maps.shape;
        let shape = [host.len(), channels, height, width];
        Tensor::from_data(TensorData::new(maps.values.clone(), shape), device)
    };
    let texts = |texts: &HostTexts, rows: usize| {
        let [tokens, width] = texts.states.shape;
        let states = TensorData::new(texts.states.values.clone(), [rows, tokens, width]);
        let pooled = texts.pooled.as_ref().map(|pooled| {
            let values = TensorData::new(pooled.values.clone(), [rows, pooled.shape[0]]);
            Tensor::from_data(values, device)
        });
        TextEmbeds {
            states: Tensor::from_data(states, device),
            pooled,
        }
    };
    let inputs = &host.inputs;
    Batch {
        images: maps(&host.images),
        inputs: Inputs {
            classes: inputs.classes.clone(),
            w: inputs.w.clone(),
            image_scale: inputs.image_scale.clone(),
            prompt: inputs.prompt.as_ref().map(|prompt| PromptEmbeds {
                cond: texts(&prompt.cond, host.len()),
                uncond: texts(&prompt.uncond, 1).expand(host.len()),
            }),
            time_ids: inputs.time_ids.clone(),
            control: inputs.control.as_ref().map(maps),
            concat: inputs.concat.as_ref().map(maps),
        },
        clock: host.clock,
        update,
    }
}
