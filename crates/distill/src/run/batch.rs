//! Training examples on their way to the device.

use crate::method::Batch;
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_data::{HostArray, HostBatch};
use fewstep_diffusion::{Inputs, PromptEmbeds};

/// A batch of the update that starts at a clock.
pub fn to_device(host: &HostBatch, update: u64, device: &Device) -> Batch {
    let maps = |maps: &HostArray<3>| {
        let [channels, height, width] = maps.shape;
        let shape = [host.len(), channels, height, width];
        Tensor::from_data(TensorData::new(maps.values.clone(), shape), device)
    };
    let states = |states: &HostArray<2>, rows: usize| {
        let [tokens, width] = states.shape;
        let values = TensorData::new(states.values.clone(), [rows, tokens, width]);
        Tensor::<3>::from_data(values, device).expand([host.len(), tokens, width])
    };
    let inputs = &host.inputs;
    Batch {
        images: maps(&host.images),
        inputs: Inputs {
            classes: inputs.classes.clone(),
            w: inputs.w.clone(),
            prompt: inputs.prompt.as_ref().map(|prompt| PromptEmbeds {
                cond: states(&prompt.cond, host.len()),
                uncond: states(&prompt.uncond, 1),
            }),
            control: inputs.control.as_ref().map(maps),
            concat: inputs.concat.as_ref().map(maps),
        },
        clock: host.clock,
        update,
    }
}
