//! `--form lora`: that of a student which was trained as one, or what is nearest to the difference of
//! another to its base.

use super::{Args, converted};
use crate::commands::shared::models;
use crate::console;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::numbers::plural;
use burn::tensor::Device;
use fewstep_formats::{
    ExtractedLora, FormatError, WeightPrecision, export_lora, export_lora_with_w, extract_lora,
    read_recipe, write_folder_atomically,
};

impl Args {
    /// Writes the files of a LoRA.
    pub(super) fn write_lora(&self, precision: Option<WeightPrecision>) -> CliResult<Vec<String>> {
        let source = models::find(&self.model, self.steps)?;
        let Some(folder) = source.path() else {
            return Err(CliError::input("builtin models have no LoRA"));
        };
        let of_teacher = read_recipe(folder).map(|recipe| recipe.provenance.teacher_lora);
        let of_teacher = of_teacher.unwrap_or_default().join(", ");
        if !of_teacher.is_empty() {
            console::note(format_args!(
                "the teacher had LoRA ({of_teacher}): this one goes on top of them, so load them too"
            ));
        }
        let mut too_large = vec![];
        let Some(w) = self.bake_w else {
            let mut has_w = false;
            let written = write_folder_atomically(&self.out, |draft| {
                has_w = export_lora(folder, draft)?;
                too_large = converted(draft, precision)?;
                Ok::<_, FormatError>(())
            });
            if has_w && written.is_ok() {
                warn_of_w();
            }
            written.input_error()?;
            return Ok(too_large);
        };
        let model = source.model(&Device::flex())?;
        self.baked(&model)?;
        let written = write_folder_atomically(&self.out, |draft| {
            export_lora_with_w(folder, draft, &model, w)?;
            too_large = converted(draft, precision)?;
            Ok::<_, FormatError>(())
        });
        written.input_error()?;
        note_of_folded_w();
        Ok(too_large)
    }

    /// Makes the files of a LoRA that the student was not trained as.
    pub(super) fn extract_lora(
        &self,
        rank: usize,
        base: &str,
        precision: Option<WeightPrecision>,
    ) -> CliResult<Vec<String>> {
        let device = Device::flex();
        let student = models::find(&self.model, self.steps)?.model(&device)?;
        let student = self.baked(&student)?;
        let base = models::find(base, None)?.model(&device)?;
        let (mut too_large, mut extracted) = (vec![], None);
        let written = write_folder_atomically(&self.out, |draft| {
            extracted = Some(extract_lora(&student, &base, rank, draft)?);
            too_large = converted(draft, precision)?;
            Ok::<_, FormatError>(())
        });
        written.input_error()?;
        if student.network.config().takes_w() {
            warn_of_w();
        }
        if self.bake_w.is_some() {
            note_of_folded_w();
        }
        if let Some(extracted) = extracted {
            println!("{}", losses(&extracted));
        }
        Ok(too_large)
    }
}

fn warn_of_w() {
    eprintln!(
        "warning: this student has an input for w, which readers of kohya.safetensors do not know, so they generate without guidance: fold one w into that file with --bake-w"
    );
}

fn note_of_folded_w() {
    console::note(format_args!(
        "w is a bias of the embedding of time, which stable-diffusion.cpp does not find in a LoRA: for that tool write the whole model (--for sd-cpp)"
    ));
}

/// How much of the difference to the base LoRA of several ranks lose.
fn losses(extracted: &ExtractedLora) -> String {
    let percent = |loss: f64| format!("{:.1} %", 100.0 * loss);
    let each = extracted.losses.iter();
    let each = each.map(|(rank, loss)| format!("rank {rank} loses {}", percent(*loss)));
    format!(
        "{} differ from the base; of the difference {}; pytorch_lora_weights.safetensors, which has no norms, {} at the last",
        plural(extracted.layers, "layer"),
        each.collect::<Vec<_>>().join(", "),
        percent(extracted.peft_loss)
    )
}
