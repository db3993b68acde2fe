//! What a model of ours makes of stored inputs: what `tools/peers/diffusers_reads_students.py`
//! compares other tools with.
//!
//!     network MODEL INPUTS OUT
//!
//! INPUTS is a safetensors file with `z` [batch, channels, height, width] and `time` [batch], and
//! where the model takes them `w` [batch], `states` [batch, tokens, width], `pooled` [batch, features],
//! `time_ids` [batch, 6], `control` [batch, channels, height, width], `source` [batch, 3, pixels high, pixels wide] in [-1, 1] and `classes` [batch]
//! (F32 all); with `noise` in the shape of `z` and
//! `steps` [1] a latent model also generates. OUT gets `output` and `image`.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::diffusion::sampler::ignore;
use fewstep::diffusion::{Inputs, Network, PromptEmbeds, TextEmbeds, TimeIds};
use fewstep::formats::{Model, Pipeline, PipelineComponents};
use fewstep::generate::Generator;
use fewstep::nn::Vae;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::error::Error;
use std::path::Path;

type CliResult<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> CliResult {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, inputs, out] = &words[..] else {
        return Err("say MODEL, INPUTS and OUT".into());
    };
    let folder = Path::new(folder);
    let device = Device::flex();
    let model = match Pipeline::is_in(folder) {
        true => Pipeline::load_model(folder, &device)?,
        false => Model::load(folder, &device)?,
    };
    let given = Given::read(inputs, &device)?;
    let states: Option<Tensor<3>> = given.get("states")?;
    let pooled: Option<Tensor<2>> = given.get("pooled")?;
    let inputs = Inputs {
        w: given.numbers("w")?,
        control: given.get("control")?,
        prompt: states.map(|states| {
            let cond = TextEmbeds { states, pooled };
            PromptEmbeds {
                uncond: cond.zeros_like(),
                cond,
            }
        }),
        time_ids: given.numbers("time_ids")?.map(|all| {
            let whole = |ids: &[f64]| [0, 2, 4].map(|i| [ids[i] as usize, ids[i + 1] as usize]);
            let ids = all.chunks_exact(TimeIds::COUNT).map(whole);
            ids.map(|[original, crop, target]| TimeIds {
                original,
                crop,
                target,
            })
            .collect()
        }),
        classes: given.numbers("classes")?.map(|classes| {
            let class = |number: f64| (number >= 0.0).then_some(number as u32);
            classes.into_iter().map(class).collect()
        }),
        ..Inputs::default()
    };
    let inputs = Inputs {
        concat: match given.get("source")? {
            Some(source) => Some(vae(folder, &device)?.source_concat(source)),
            None => None,
        },
        ..inputs
    };
    let z: Tensor<4> = given.get("z")?.ok_or("no `z`")?;
    let time = given.numbers("time")?.ok_or("no `time`")?;
    let mut made = vec![("output", model.network.forward(z, &time, &inputs))];
    if let Some(noise) = given.get("noise")? {
        let steps = given.numbers("steps")?.ok_or("no `steps`")?[0] as usize;
        let latents = generate(model, noise, &inputs, steps, &device)?;
        made.push(("image", vae(folder, &device)?.decode(latents, None)));
    }
    write(out, made)
}

fn vae(folder: &Path, device: &Device) -> CliResult<Vae> {
    Ok(PipelineComponents::open(folder)?.vae(device)?)
}

/// From noise to latents, as the model was made to be sampled.
fn generate(
    model: Model,
    noise: Tensor<4>,
    inputs: &Inputs,
    steps: usize,
    device: &Device,
) -> CliResult<Tensor<4>> {
    let keys: Vec<(u64, u64)> = (0..noise.dims()[0] as u64).map(|i| (0, i)).collect();
    let generator = Generator::new(model, device)?;
    let sampler = generator.default_sampler();
    Ok(generator.sample(noise, inputs, sampler, steps, &keys, &mut ignore)?)
}

fn write(path: &str, made: Vec<(&str, Tensor<4>)>) -> CliResult {
    let made = made.into_iter().map(|(name, tensor)| {
        let shape = tensor.dims().to_vec();
        let values: Vec<f32> = tensor.into_data().try_to_vec().unwrap_or_default();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (name, shape, bytes)
    });
    let made: Vec<_> = made.collect();
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes);
    let views = made
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, view(shape, bytes)?)));
    let views = views.collect::<CliResult<Vec<_>>>()?;
    std::fs::write(path, safetensors::serialize(views, None)?)?;
    Ok(())
}

/// Stored tensors of 32-bit floats.
struct Given {
    bytes: Vec<u8>,
    device: Device,
}

impl Given {
    fn read(path: &str, device: &Device) -> CliResult<Self> {
        Ok(Self {
            bytes: std::fs::read(path)?,
            device: device.clone(),
        })
    }

    fn stored(&self, name: &str) -> CliResult<Option<(Vec<usize>, Vec<f32>)>> {
        let file = SafeTensors::deserialize(&self.bytes)?;
        let Ok(view) = file.tensor(name) else {
            return Ok(None);
        };
        let values = view.data().chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(Some((view.shape().to_vec(), values.collect())))
    }

    fn get<const D: usize>(&self, name: &str) -> CliResult<Option<Tensor<D>>> {
        let stored = self.stored(name)?;
        Ok(stored
            .map(|(shape, values)| Tensor::from_data(TensorData::new(values, shape), &self.device)))
    }

    fn numbers(&self, name: &str) -> CliResult<Option<Vec<f64>>> {
        let stored = self.stored(name)?;
        Ok(stored.map(|(_, values)| values.into_iter().map(f64::from).collect()))
    }
}
