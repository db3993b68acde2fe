//! One measurement: a row of `results.json`.

use crate::commands::shared::fidelity::{EffectiveW, Fidelity, interval};
use crate::error::{CliError, CliResult, IntoCliResult};
use fewstep_formats::write_json_atomically;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How good a model is with one sampler and one number of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Teacher, student or matched student.
    pub model: Origin,
    /// Name of the sampler.
    pub sampler: String,
    /// Steps.
    pub steps: usize,
    /// Guidance weight.
    pub w: f64,
    /// Fréchet distance to the real images.
    pub fid: f64,
    /// Network calls for one image.
    pub network_calls: usize,
    /// Time to generate one image, without measuring it.
    pub seconds_per_image: f64,
    /// Images measured.
    pub samples: usize,
    /// The network that the distance was measured with, and the hash of its weights.
    pub features: String,
    /// The hash of the model's weights; empty for rows of an earlier version.
    #[serde(default)]
    pub weights_hash: String,
    /// Of a student: how near its images are to its teacher's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<ToTeacher>,
    /// Whether the row was measured earlier, on another machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stored: bool,
}

/// How near a student's images are to its teacher's from the same noise, with the same w.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToTeacher {
    /// The images compared.
    #[serde(flatten)]
    pub fidelity: Fidelity,
    /// What the student follows of w, by time, on some of the images.
    pub effective_w: Vec<EffectiveW>,
    /// Steps of the teacher.
    pub teacher_steps: usize,
    /// Images compared.
    pub images: usize,
}

/// Which kind of model a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// The model that is distilled.
    Teacher,
    /// A model distilled from it.
    Student,
    /// A student that learnt the teacher's distribution after that.
    Matched,
}

impl Origin {
    /// Its name in results and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Origin::Teacher => "teacher",
            Origin::Student => "student",
            Origin::Matched => "matched student",
        }
    }
}

/// The quality of `row` in multiples of that of `reference`; below 1 is better.
pub(crate) fn ratio(row: &Row, reference: &Row) -> f64 {
    row.fid / reference.fid
}

/// The row that the others with this w are compared with: the teacher with the most network calls.
pub(crate) fn reference(rows: &[Row], w: f64) -> Option<&Row> {
    let teachers = rows.iter();
    let teachers = teachers.filter(|row| (row.model, row.w) == (Origin::Teacher, w));
    teachers.max_by_key(|row| row.network_calls)
}

/// What the ratios of [`reference`] are called.
pub(super) fn against(rows: &[Row]) -> String {
    let teachers = rows.iter().filter(|row| row.model == Origin::Teacher);
    let calls = teachers.map(|row| row.network_calls).max();
    calls.map_or("ratio".into(), |calls| format!("to {calls} calls"))
}

/// Reads `results.json`; no rows if there is no file.
///
/// # Errors
/// When it holds something else.
pub(crate) fn read_rows(path: &Path) -> CliResult<Vec<Row>> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        text => text.input_error()?,
    };
    serde_json::from_str(&text).map_err(|e| {
        let path = path.display();
        CliError::input(format!(
            "{path} holds no results ({e}): delete it to have them measured again"
        ))
    })
}

/// Writes `results.json`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_rows(path: &Path, rows: &[Row]) -> CliResult {
    write_json_atomically(path, &rows).input_error()
}

/// The rows as a table for a terminal, with `label` for the distance, each compared with the
/// teacher of the same w.
pub(crate) fn table(rows: &[Row], label: &str) -> String {
    let against = against(rows);
    let head = [
        "model",
        "sampler",
        "steps",
        "w",
        "network calls",
        label,
        &against,
        "ms/image",
        "MSE to teacher",
    ];
    let mut cells = vec![head.map(String::from)];
    for row in rows {
        let ratio = reference(rows, row.w).map(|r| format!("{:.2}x", ratio(row, r)));
        let mse = row.fidelity.as_ref().map(|to| interval(to.fidelity.mse, 4));
        let mark = if row.stored { "*" } else { "" };
        cells.push([
            format!("{}{mark}", row.model.name()),
            row.sampler.clone(),
            row.steps.to_string(),
            row.w.to_string(),
            row.network_calls.to_string(),
            format!("{:.2}", row.fid),
            ratio.unwrap_or_default(),
            format!("{:.1}", row.seconds_per_image * 1e3),
            mse.unwrap_or_default(),
        ]);
    }
    let width = |column: usize| {
        cells
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for line in &cells {
        for (column, (cell, width)) in std::iter::zip(line, &widths).enumerate() {
            match column {
                0 | 1 => text.push_str(&format!("{cell:<width$}  ")),
                _ => text.push_str(&format!("{cell:>width$}  ")),
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use fewstep_metrics::MeanInterval;

    pub(crate) fn row(model: Origin, steps: usize, fid: f64) -> Row {
        Row {
            model,
            sampler: match model {
                Origin::Teacher => "ddim".into(),
                Origin::Student | Origin::Matched => "deterministic".into(),
            },
            steps,
            w: 1.0,
            fid,
            network_calls: match model {
                Origin::Teacher => 2 * steps,
                Origin::Student | Origin::Matched => steps,
            },
            seconds_per_image: 0.0005 * steps as f64,
            samples: 2000,
            features: "classifier (0123456789ab)".into(),
            weights_hash: "89abcdef01234567".into(),
            fidelity: None,
            stored: steps == 64,
        }
    }

    #[test]
    fn rows_have_the_documented_names() {
        let json = serde_json::to_string(&row(Origin::Student, 4, 6.5)).expect("JSON");
        let expected = r#"{"model":"student","sampler":"deterministic","steps":4,"w":1.0,"fid":6.5,"network_calls":4,"seconds_per_image":0.002,"samples":2000,"features":"classifier (0123456789ab)","weights_hash":"89abcdef01234567"}"#;
        assert_eq!(json, expected);
        let stored = row(Origin::Teacher, 64, 6.0);
        let json = serde_json::to_string(&stored).expect("JSON");
        assert!(json.ends_with(r#""stored":true}"#), "{json}");
        assert_eq!(serde_json::from_str::<Row>(&json).expect("a row"), stored);
        let json = serde_json::to_string(&row(Origin::Matched, 4, 6.0)).expect("JSON");
        assert!(json.starts_with(r#"{"model":"matched","#), "{json}");
    }

    /// A student that is measured against its teacher too.
    pub(in crate::report) fn compared(w: f64, steps: usize, fid: f64) -> Row {
        let mean = |mean, half_width| MeanInterval {
            mean,
            half_width,
            count: 40,
        };
        let fidelity = Fidelity {
            mse: mean(0.0125, 0.001),
            psnr: mean(27.0, 1.0),
            lpips: None,
            colour: vec![mean(-1.5, 0.5)],
            contrast: mean(0.99, 0.01),
            sharpness: mean(1.02, 0.03),
        };
        Row {
            w,
            fidelity: Some(ToTeacher {
                fidelity,
                effective_w: vec![EffectiveW {
                    t: 1.0,
                    w: mean(0.9, 0.02),
                }],
                teacher_steps: 64,
                images: 40,
            }),
            ..row(Origin::Student, steps, fid)
        }
    }

    #[test]
    fn fidelity_is_part_of_a_row() {
        let row = compared(0.5, 4, 6.6);
        let json = serde_json::to_value(&row).expect("JSON");
        assert_eq!(json["fidelity"]["mse"]["mean"], 0.0125);
        assert_eq!(json["fidelity"]["effective_w"][0]["t"], 1.0);
        assert_eq!(json["fidelity"]["teacher_steps"], 64);
        assert_eq!(serde_json::from_value::<Row>(json).expect("a row"), row);
    }

    /// Each w has its own teacher to be compared with.
    #[test]
    fn the_table_is_aligned_and_marks_stored_results() {
        let rows = [
            Row {
                w: 0.5,
                ..row(Origin::Teacher, 64, 5.0)
            },
            compared(0.5, 4, 6.6),
            row(Origin::Teacher, 64, 6.0),
            row(Origin::Student, 4, 6.6),
            compared(2.0, 4, 6.6),
        ];
        let table = table(&rows, "classifier FID");
        let expected = "\
model     sampler        steps    w  network calls  classifier FID  to 128 calls  ms/image   MSE to teacher
teacher*  ddim              64  0.5            128            5.00         1.00x      32.0
student   deterministic      4  0.5              4            6.60         1.32x       2.0  0.0125 ± 0.0010
teacher*  ddim              64    1            128            6.00         1.00x      32.0
student   deterministic      4    1              4            6.60         1.10x       2.0
student   deterministic      4    2              4            6.60                     2.0  0.0125 ± 0.0010
";
        assert_eq!(table, expected);
    }

    #[test]
    fn results_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.json");
        assert!(read_rows(&path).is_ok_and(|rows| rows.is_empty()));
        std::fs::write(&path, "[{}]").expect("written");
        let Err(CliError::Input(error)) = read_rows(&path) else {
            panic!("damaged results must be refused");
        };
        assert!(error.to_string().contains("results.json"), "{error}");
    }
}
