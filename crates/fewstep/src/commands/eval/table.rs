//! Results as tables.

use super::inputs::InputKind;
use super::metrics::Metrics;
use super::pairs::PairValues;
use super::real::Real;
use super::results::{Comparison, Row, Setting};
use crate::error::CliResult;
use fewstep_generate::scale_of;
use fewstep_metrics::{FeatureId, Features, MeanInterval, Retrieval};

/// A table of the rows of a model, with the mean and deviation over the seeds of each setting.
pub(super) fn of_model(
    rows: &[Row],
    inputs: &InputKind,
    real: &Real,
    features: &FeatureId,
) -> CliResult<String> {
    let mut lines = vec![
        ["sampler", "steps", "w", "guidance scale"]
            .map(String::from)
            .to_vec(),
    ];
    lines[0].extend(match inputs {
        InputKind::Classes => metric_names(features),
        InputKind::Prompts => {
            let retrieval = ["retrieval", "among five"].map(String::from);
            [metric_names(features), retrieval.to_vec()].concat()
        }
        InputKind::Pairs(_) => [features.fid_label(), "LPIPS", "PSNR", "SSIM"]
            .map(String::from)
            .to_vec(),
    });
    lines[0].extend(["network calls", "s/image"].map(String::from));
    for group in rows.chunk_by(|a, b| a.setting.without_seed() == b.setting.without_seed()) {
        let first = &group[0];
        let or_dash = |number: Option<f64>| number.map_or("-".into(), |n| n.to_string());
        let mut line = vec![
            first.setting.sampler.clone(),
            first.setting.steps.to_string(),
            or_dash(first.setting.w),
            or_dash(first.setting.w.map(scale_of)),
        ];
        let metrics: Vec<Metrics> = group.iter().map(|row| row.metrics).collect();
        let values: Vec<&PairValues> = group.iter().flat_map(|row| &row.values).collect();
        line.extend(match values.is_empty() {
            true => metric_cells(&metrics),
            false => pair_cells(&metrics, &values)?,
        });
        let found: Vec<Retrieval> = group.iter().flat_map(|row| row.retrieval).collect();
        if !found.is_empty() {
            let percent = |of: fn(&Retrieval) -> f64| {
                format!(
                    "{:.1} %",
                    100.0 * mean(&found.iter().map(of).collect::<Vec<_>>())
                )
            };
            line.extend([percent(|found| found.first), percent(|found| found.five)]);
        }
        let seconds: Vec<f64> = group.iter().map(|row| row.seconds_per_image).collect();
        line.extend([
            first.setting.network_calls.to_string(),
            format!("{:.4}", mean(&seconds)),
        ]);
        lines.push(line);
    }
    let samples = rows.first().map_or(0, |row| row.samples);
    let definition = match inputs {
        InputKind::Classes => definition(samples, real, features),
        InputKind::Prompts => format!(
            "{}; retrieval: how often the real image of the prompt is the nearest of {}, and among the five nearest",
            definition(samples, real, features),
            real.features.as_ref().map_or(0, Features::count)
        ),
        InputKind::Pairs(definition) => format!(
            "{samples} images against {} real ones ({}), {definition}; features of {features}",
            real.statistics.count, real.source
        ),
    };
    Ok(format!("{}\n\n{definition}", align(&lines)))
}

/// A table of one comparison of folders.
pub(super) fn of_images(result: &Comparison, real: &Real, features: &FeatureId) -> String {
    let lines = [metric_names(features), metric_cells(&[result.metrics])];
    let retrieval = result.retrieval.map(|found| {
        format!(
            "\n\nretrieval accuracy {:.1} %, {:.1} % among the five nearest; {} captions, chance {:.1} %",
            100.0 * found.first,
            100.0 * found.five,
            found.texts,
            100.0 / found.texts as f64
        )
    });
    format!(
        "{}{}\n\n{}: {}",
        align(&lines),
        retrieval.unwrap_or_default(),
        result.images.display(),
        definition(result.samples, real, features)
    )
}

impl Setting {
    fn without_seed(&self) -> (&str, &str, usize, Option<f64>) {
        (&self.weights_hash, &self.sampler, self.steps, self.w)
    }
}

fn metric_names(features: &FeatureId) -> Vec<String> {
    let (fid, kid, score) = (
        features.fid_label(),
        features.kid_label(),
        features.score_label(),
    );
    [fid, kid, "precision", "recall", score]
        .map(String::from)
        .to_vec()
}

/// The mean and deviation of a metric over seeds.
fn cell(metrics: &[Metrics], metric: fn(&Metrics) -> Option<f64>, digits: usize) -> String {
    let values: Vec<f64> = metrics.iter().filter_map(metric).collect();
    match values.len() {
        0 => "-".to_string(),
        1 => format!("{:.digits$}", values[0]),
        _ => format!(
            "{:.digits$} ± {:.digits$}",
            mean(&values),
            deviation(&values)
        ),
    }
}

fn pair_cells(metrics: &[Metrics], values: &[&PairValues]) -> CliResult<Vec<String>> {
    let pairs = PairValues::metrics(values)?;
    let interval = |value: MeanInterval, digits: usize| {
        format!("{:.digits$} ± {:.digits$}", value.mean, value.half_width)
    };
    let lpips = pairs.lpips.map(|lpips| interval(lpips, 4));
    Ok(vec![
        cell(metrics, |f| Some(f.fid), 3),
        lpips.unwrap_or("-".into()),
        interval(pairs.psnr, 2),
        interval(pairs.ssim, 4),
    ])
}

fn metric_cells(metrics: &[Metrics]) -> Vec<String> {
    let cell = |metric, digits| cell(metrics, metric, digits);
    vec![
        cell(|f| Some(f.fid), 3),
        cell(|f| f.kid, 5),
        cell(|f| f.precision, 3),
        cell(|f| f.recall, 3),
        cell(|f| f.classifier_score, 3),
    ]
}

/// What the metrics are measured with; without it they mean nothing.
fn definition(samples: usize, real: &Real, features: &FeatureId) -> String {
    let neighbours = match &real.features {
        Some(features) => format!(
            "; KID, precision and recall (k = 3) against {} of them",
            features.count()
        ),
        None => "; KID, precision and recall need the real images (--data)".into(),
    };
    format!(
        "{samples} images against {} real ones ({}); features of {features}{neighbours}",
        real.statistics.count, real.source
    )
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation of a few measurements, with n − 1 in the denominator.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// Aligns columns to the right.
pub(super) fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        lines
            .iter()
            .map(|l| l[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = std::iter::zip(cells, &widths).map(|(cell, width)| format!("{cell:>width$}"));
        padded.collect::<Vec<_>>().join("  ")
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_seeds_show_mean_and_deviation() {
        let metrics = |fid| Metrics {
            fid,
            kid: None,
            precision: Some(0.5),
            recall: Some(0.25),
            classifier_score: None,
        };
        let cells = metric_cells(&[metrics(7.0), metrics(9.0)]);
        assert_eq!(
            cells,
            ["8.000 ± 1.414", "-", "0.500 ± 0.000", "0.250 ± 0.000", "-"]
        );
        assert_eq!(metric_cells(&[metrics(7.0)])[0], "7.000");
    }

    #[test]
    fn columns_are_aligned() {
        let lines = [
            vec!["w".to_string(), "FID".into()],
            vec!["0.5".into(), "7".into()],
        ];
        assert_eq!(align(&lines), "  w  FID\n0.5    7");
    }
}
