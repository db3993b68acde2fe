//! What a model of ours makes of stored inputs: what `tools/peers/diffusers_reads_students.py` compares other tools with.
//!
//!     network output MODEL INPUTS OUT [ADAPTER]    # the network's output, and a picture where there is `noise`
//!     network adapter MODEL CHANNELS FOLDER        # a new adapter for condition images as big as the model's maps
//!
//! INPUTS is a safetensors file with `z` [batch, channels, height, width] and `time` [batch], and where the model takes
//! them `w` [batch], `states` [batch, tokens, width], `hint` [batch, channels, height, width] and `classes` [batch] (F32
//! all); with `noise` in the shape of `z` and `steps` [1] a latent model draws too. OUT gets `output` and `picture`.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep::Generator;
use fewstep::diffusion::{Conditioning, Network, Text};
use fewstep::formats::{AdapterModel, Model, Pipeline};
use fewstep::nn::{AdapterConfig, Fusion, Initial};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::error::Error;
use std::path::Path;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["output", model, inputs, out] => output(model, inputs, out, None),
        ["output", model, inputs, out, adapter] => output(model, inputs, out, Some(adapter)),
        ["adapter", model, channels, folder] => adapter(model, channels.parse()?, folder),
        _ => Err("output MODEL INPUTS OUT [ADAPTER], or adapter MODEL CHANNELS FOLDER".into()),
    }
}

fn load(folder: &str, device: &Device) -> Outcome<Model> {
    let folder = Path::new(folder);
    Ok(match Pipeline::is_in(folder) {
        true => Pipeline::load_model(folder, device)?,
        false => Model::load(folder, device)?,
    })
}

fn output(folder: &str, inputs: &str, out: &str, adapter: Option<&str>) -> Outcome {
    let device = Device::flex();
    let mut model = load(folder, &device)?;
    if let Some(adapter) = adapter {
        model = model.with_adapter(AdapterModel::load(adapter.as_ref(), &device)?)?;
    }
    let inputs = Inputs::read(inputs, &device)?;
    let states: Option<Tensor<3>> = inputs.get("states")?;
    let conditioning = Conditioning {
        w: inputs.numbers("w")?,
        hint: inputs.get("hint")?,
        text: states.map(|states| Text {
            empty: states.zeros_like(),
            states,
        }),
        classes: inputs.numbers("classes")?.map(|classes| {
            let class = |number: f64| (number >= 0.0).then_some(number as u32);
            classes.into_iter().map(class).collect()
        }),
        ..Conditioning::default()
    };
    let z: Tensor<4> = inputs.get("z")?.ok_or("no `z`")?;
    let time = inputs.numbers("time")?.ok_or("no `time`")?;
    let mut made = vec![("output", model.network.forward(z, &time, &conditioning))];
    if let Some(noise) = inputs.get("noise")? {
        let steps = inputs.numbers("steps")?.ok_or("no `steps`")?[0] as usize;
        let samples: Vec<u64> = (0..time.len() as u64).collect();
        let generator = Generator::new(model, &device)?;
        let request = fewstep::Request {
            classes: vec![None; samples.len()],
            first: 0,
            seed: 0,
            steps,
            sampler: generator.default_sampler(),
            w: None,
            batch: samples.len(),
        };
        let latents = generator.sample(noise, &conditioning, &request, &samples)?;
        let codec = fewstep::formats::Surroundings::open(folder.as_ref())?.codec(&device)?;
        made.push(("picture", codec.decode(latents, None)));
    }
    let made = made.into_iter().map(|(name, tensor)| {
        let shape = tensor.dims().to_vec();
        let values: Vec<f32> = tensor.into_data().try_to_vec().unwrap_or_default();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        (name, shape, bytes)
    });
    let made: Vec<_> = made.collect();
    let views = made.iter().map(|(name, shape, bytes)| {
        Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
    });
    let views = views.collect::<Outcome<Vec<_>>>()?;
    std::fs::write(out, safetensors::serialize(views, None)?)?;
    Ok(())
}

fn adapter(folder: &str, channels: usize, out: &str) -> Outcome {
    let device = Device::flex();
    let model = load(folder, &device)?;
    let [_, height, width] = model.recipe.resolution;
    let config = AdapterConfig::for_hint(
        [channels, height, width],
        model.recipe.resolution,
        model.network.config(),
        Fusion::ZeroConv,
    );
    let network = model.network.with_adapter(&config, Initial::Base, 0)?;
    let adapted = Model { network, ..model };
    adapted.adapter().ok_or("no adapter")?.save(out.as_ref())?;
    Ok(())
}

/// Stored tensors of 32-bit floats.
struct Inputs {
    bytes: Vec<u8>,
    device: Device,
}

impl Inputs {
    fn read(path: &str, device: &Device) -> Outcome<Self> {
        Ok(Self {
            bytes: std::fs::read(path)?,
            device: device.clone(),
        })
    }

    fn stored(&self, name: &str) -> Outcome<Option<(Vec<usize>, Vec<f32>)>> {
        let file = SafeTensors::deserialize(&self.bytes)?;
        let Ok(view) = file.tensor(name) else {
            return Ok(None);
        };
        let values = view.data().chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(Some((view.shape().to_vec(), values.collect())))
    }

    fn get<const D: usize>(&self, name: &str) -> Outcome<Option<Tensor<D>>> {
        let stored = self.stored(name)?;
        Ok(stored
            .map(|(shape, values)| Tensor::from_data(TensorData::new(values, shape), &self.device)))
    }

    fn numbers(&self, name: &str) -> Outcome<Option<Vec<f64>>> {
        let stored = self.stored(name)?;
        Ok(stored.map(|(_, values)| values.into_iter().map(f64::from).collect()))
    }
}
