//! How much a LoRA of PEFT counts: its alpha is not among the tensors. Files of diffusers have PEFT's
//! configuration in their metadata, and PEFT itself writes it next to the file.

use crate::reading;
use serde_json::{Map, Value};
use std::path::Path;

/// The key of diffusers in the metadata of a file.
const KEY: &str = "lora_adapter_metadata";
/// The file of PEFT's own folders, and its configuration.
const MODEL: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// PEFT's configuration of each network of a file; nothing is known without one.
#[derive(Clone, Debug, Default)]
pub(super) struct PeftConfig {
    fields: Map<String, Value>,
    /// Whether names of fields have the network in front.
    by_network: bool,
}

impl PeftConfig {
    /// That of a file with these bytes. An error says what is wrong with it.
    pub(super) fn of(path: &Path, bytes: &[u8]) -> Result<Self, String> {
        let header = safetensors::SafeTensors::read_metadata(bytes);
        let header = header.map_err(|error| format!("it is no safetensors file: {error}"))?;
        let metadata = header.1.metadata().as_ref();
        let (text, by_network) = match metadata.and_then(|entries| entries.get(KEY)) {
            Some(text) => (text.clone(), true),
            None if path.file_name().is_some_and(|name| name == MODEL) => {
                let file = path.with_file_name(CONFIG);
                if !file.exists() {
                    return Ok(Self::default());
                }
                let text = reading::text(&file).map_err(|error| error.to_string())?;
                (text, false)
            }
            None => return Ok(Self::default()),
        };
        let fields = serde_json::from_str(&text);
        let fields: Map<String, Value> =
            fields.map_err(|error| format!("the configuration of PEFT: {error}"))?;
        for (name, value) in &fields {
            let numbers = match (name.rsplit('.').next(), value) {
                (Some("lora_alpha"), alpha) => vec![alpha],
                (Some("alpha_pattern"), Value::Object(patterns)) => patterns.values().collect(),
                _ => continue,
            };
            if let Some(other) = numbers.iter().find(|number| !number.is_number()) {
                return Err(format!(
                    "the configuration of PEFT: `{name}` must be a number, not {other}"
                ));
            }
        }
        Ok(Self { fields, by_network })
    }

    /// Alpha of a layer of a network (`unet`, `text_encoder` or `text_encoder_2`), of which alpha /
    /// rank is the factor; none if the configuration has none.
    pub(super) fn alpha(&self, network: &str, layer: &str, rank: usize) -> Option<f32> {
        let field = |name: &str| match self.by_network {
            true => self.fields.get(&format!("{network}.{name}")),
            false => self.fields.get(name),
        };
        let is_for = |pattern: &str| {
            let before = layer.strip_suffix(pattern.trim_start_matches('^'));
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let patterns = field("alpha_pattern").and_then(Value::as_object);
        let mut patterns = patterns.into_iter().flatten();
        let of_layer = patterns.find(|(pattern, _)| is_for(pattern));
        let alpha = of_layer
            .map(|(_, alpha)| alpha)
            .or_else(|| field("lora_alpha"))?;
        let by_root = field("use_rslora").and_then(Value::as_bool) == Some(true);
        let factor = if by_root { (rank as f64).sqrt() } else { 1.0 };
        Some((alpha.as_f64()? * factor) as f32)
    }
}
