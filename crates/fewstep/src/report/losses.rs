//! The loss curves of the phases, from the log of the run.

use super::html::escape;
use super::scale::{Axis, Spacing};
use crate::error::{CliResult, IntoCliResult};
use crate::numbers::{duration, significant};
use fewstep_distill::run::LogRecord;
use std::path::Path;

/// The loss of one phase over its updates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LossCurve {
    /// Name of the phase.
    pub phase: String,
    /// Updates so far and mean loss since the point before.
    pub points: Vec<(u64, f64)>,
    /// First and last loss of each player that learns against the student, by name.
    pub players: Vec<(String, [f64; 2])>,
    /// Time spent.
    pub seconds: f64,
}

/// Reads the curves of all phases from `metrics.jsonl`.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read_losses(path: &Path) -> CliResult<Vec<LossCurve>> {
    let text = std::fs::read_to_string(path).input_error()?;
    let mut curves: Vec<LossCurve> = vec![];
    let mut clock = 0;
    for record in text
        .lines()
        .filter_map(|line| serde_json::from_str::<LogRecord>(line).ok())
    {
        if curves
            .last()
            .is_none_or(|curve| curve.phase != record.phase)
        {
            curves.push(LossCurve {
                phase: record.phase.clone(),
                points: vec![],
                players: vec![],
                seconds: 0.0,
            });
        }
        if let Some(curve) = curves.last_mut() {
            curve.points.push((record.update, record.loss));
            for player in record.players {
                let mut known = curve.players.iter_mut();
                match known.find(|(name, _)| *name == player.name) {
                    Some((_, losses)) => losses[1] = player.loss,
                    None => curve.players.push((player.name, [player.loss; 2])),
                }
            }
            curve.seconds += (record.clock - clock) as f64 / record.samples_per_second;
        }
        clock = record.clock;
    }
    Ok(curves)
}

const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 96.0;
const MARGIN: f64 = 6.0;

/// One curve as a small drawing with its first and last value, the loss on a logarithmic axis.
pub(super) fn drawing(curve: &LossCurve) -> String {
    let losses = || {
        curve
            .points
            .iter()
            .map(|point| point.1)
            .filter(|loss| *loss > 0.0)
    };
    let x = Axis {
        low: 0.0,
        high: curve.points.last().map_or(1.0, |point| point.0 as f64),
        from: MARGIN,
        to: WIDTH - MARGIN,
        spacing: Spacing::Linear,
    };
    let y = Axis {
        low: losses().fold(f64::INFINITY, f64::min),
        high: losses().fold(0.0, f64::max),
        from: HEIGHT - MARGIN,
        to: MARGIN,
        spacing: Spacing::Log,
    };
    let place =
        |&(update, loss): &(u64, f64)| format!("{:.1},{:.1}", x.at(update as f64), y.at(loss));
    let line: Vec<String> = curve
        .points
        .iter()
        .filter(|point| point.1 > 0.0)
        .map(place)
        .collect();
    let [first, last] = [curve.points.first(), curve.points.last()]
        .map(|point| point.map_or(String::new(), |point| significant(point.1)));
    let updates = curve.points.last().map_or(0, |point| point.0);
    let of_player = |(name, losses): &(String, [f64; 2])| {
        let [first, last] = losses.map(significant);
        format!(", {} {first} → {last}", escape(name))
    };
    let players: String = curve.players.iter().map(of_player).collect();
    let note = match players.is_empty() {
        true => "",
        false => ". They learn against each other, so these losses need not fall",
    };
    format!(
        r#"<figure class="loss"><figcaption><strong>{phase}</strong> {updates} updates, {time}</figcaption>
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Loss of {phase}: from {first} to {last}"><line class="ground" x1="0" x2="{WIDTH}" y1="{base}" y2="{base}"/><polyline points="{points}"/></svg>
<p>loss {first} → {last}{players}{note}</p></figure>
"#,
        phase = escape(&curve.phase),
        time = duration(curve.seconds),
        base = HEIGHT - 0.5,
        points = line.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_distill::run::PlayerRecord;

    fn record(phase: &str, update: u64, clock: u64, loss: f64) -> String {
        let record = LogRecord {
            phase: phase.into(),
            update,
            clock,
            loss,
            loss_by_time: vec![],
            gradient_norm: 1.0,
            lr: 1e-3,
            samples_per_second: 8.0,
            exchange_share: None,
            players: vec![],
        };
        serde_json::to_string(&record).expect("JSON")
    }

    #[test]
    fn the_log_gives_one_curve_per_phase_with_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let lines = [
            record("guided", 10, 80, 0.5),
            record("guided", 20, 160, 0.25),
            record("steps-8", 10, 240, 0.1),
        ];
        std::fs::write(&path, lines.join("\n")).expect("written");
        let Ok(curves) = read_losses(&path) else {
            panic!("readable");
        };
        assert_eq!(curves.len(), 2);
        assert_eq!(curves[0].points, [(10, 0.5), (20, 0.25)]);
        assert_eq!([curves[0].seconds, curves[1].seconds], [20.0, 10.0]);
    }

    #[test]
    fn players_are_named_with_their_losses() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let lines = [(10, 0.5, 0.2), (20, 0.4, 0.1)].map(|(update, loss, of_player)| {
            let text = record("matched", update, 8 * update, loss);
            let mut record: LogRecord = serde_json::from_str(&text).expect("a record");
            record.players.push(PlayerRecord {
                name: "fake-score".into(),
                loss: of_player,
                gradient_norm: 1.0,
            });
            serde_json::to_string(&record).expect("JSON")
        });
        std::fs::write(&path, lines.join("\n")).expect("written");
        let curves = read_losses(&path).unwrap_or_default();
        let drawing = drawing(&curves[0]);
        let losses = "loss 0.500 → 0.400, fake-score 0.200 → 0.100. They learn against each other";
        assert!(drawing.contains(losses), "{drawing}");
    }

    #[test]
    fn a_curve_falls_from_left_to_right() {
        let curve = LossCurve {
            phase: "a<b".into(),
            points: vec![(0, 1.0), (100, 0.01)],
            players: vec![],
            seconds: 61.0,
        };
        let drawing = drawing(&curve);
        assert!(
            drawing.contains(r#"points="6.0,6.0 234.0,90.0""#),
            "{drawing}"
        );
        assert!(
            drawing.contains("a&lt;b</strong> 100 updates, 1 min 1 s"),
            "{drawing}"
        );
        assert!(drawing.contains("loss 1.00 → 0.0100</p>"), "{drawing}");
    }
}
