//! Quality against network calls, as SVG.
//!
//! Made by hand rather than with a plotting library: the drawing takes its colours and type from
//! style sheets, so it follows the reader's light or dark mode, grows its letters on a phone and
//! prints well. Plotting libraries write colours and fonts into every element.

use super::Row;
use super::html::escape;
use super::row::Origin;
use super::scale::{Axis, Spacing, powers_of_two, round_ticks};
use std::fmt::Write;

const STYLE: &str = include_str!("plot.css");
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 44.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 60.0;
/// Two labels nearer than this would touch.
const LABEL: f64 = 30.0;

/// The plot as a file of its own.
pub(super) fn file(rows: &[Row], metric: &str) -> String {
    let drawing = drawing(rows, metric).replacen(
        "<svg ",
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="1080" height="600" "#,
        1,
    );
    format!("{drawing}\n")
}

/// The plot as a part of a page.
pub(super) fn drawing(rows: &[Row], metric: &str) -> String {
    let plot = Plot::new(rows);
    let mut svg = format!(
        r#"<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Distance to real images against network calls for an image"><style>{STYLE}</style><rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>"#
    );
    plot.axes(&mut svg, metric);
    plot.reference(&mut svg);
    for line in &plot.lines {
        plot.line(&mut svg, line);
    }
    plot.legend(&mut svg);
    svg.push_str("</svg>");
    svg
}

/// The rows of one model, sampler and w, by network calls.
struct Line<'a> {
    rows: Vec<&'a Row>,
}

struct Plot<'a> {
    lines: Vec<Line<'a>>,
    x: Axis,
    y: Axis,
}

impl<'a> Plot<'a> {
    fn new(rows: &'a [Row]) -> Self {
        let mut lines: Vec<Line> = vec![];
        for row in rows {
            let same = |line: &&mut Line| {
                let first = line.rows[0];
                (first.model, &first.sampler, first.w) == (row.model, &row.sampler, row.w)
            };
            match lines.iter_mut().find(same) {
                Some(line) => line.rows.push(row),
                None => lines.push(Line { rows: vec![row] }),
            }
        }
        for line in &mut lines {
            line.rows.sort_by_key(|row| row.network_calls);
        }
        let calls = || rows.iter().map(|row| row.network_calls);
        let columns = powers_of_two(calls().min().unwrap_or(1), calls().max().unwrap_or(1));
        let worst = rows.iter().map(|row| row.fid).fold(0.0, f64::max);
        let axis = |low, high, from, to, spacing| Axis {
            low,
            high,
            from,
            to,
            spacing,
        };
        let [first, last] =
            [columns.first(), columns.last()].map(|c| c.copied().unwrap_or(1) as f64);
        let top = round_ticks(worst).last().copied().unwrap_or(1.0);
        Self {
            lines,
            x: axis(first, last, LEFT + 24.0, WIDTH - RIGHT - 16.0, Spacing::Log),
            y: axis(0.0, top, HEIGHT - BOTTOM, TOP, Spacing::Linear),
        }
    }

    fn place(&self, row: &Row) -> (f64, f64) {
        (self.x.at(row.network_calls as f64), self.y.at(row.fid))
    }

    fn axes(&self, svg: &mut String, metric: &str) {
        let right = WIDTH - RIGHT;
        for tick in round_ticks(self.y.high) {
            let y = self.y.at(tick);
            let _ = write!(
                svg,
                r#"<line class="rule" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text class="tick end" x="{:.1}" y="{:.1}">{}</text>"#,
                LEFT - 8.0,
                y + 4.5,
                (tick * 1e6).round() / 1e6,
            );
        }
        let base = HEIGHT - BOTTOM;
        for calls in powers_of_two(self.x.low as usize, self.x.high as usize) {
            let x = self.x.at(calls as f64);
            let _ = write!(
                svg,
                r#"<line class="notch" x1="{x:.1}" x2="{x:.1}" y1="{base}" y2="{:.1}"/><text class="tick middle" x="{x:.1}" y="{:.1}">{calls}</text>"#,
                base + 5.0,
                base + 22.0,
            );
        }
        let _ = write!(
            svg,
            r#"<text class="name middle" x="{:.1}" y="{:.1}">network calls for an image</text><text class="name" x="{:.1}" y="{:.1}">{}, lower is better</text>"#,
            (LEFT + right) / 2.0,
            HEIGHT - 12.0,
            LEFT - 40.0,
            TOP - 14.0,
            escape(metric),
        );
    }

    /// A line across at the quality of the most expensive way to sample the teacher.
    fn reference(&self, svg: &mut String) {
        let teacher = self
            .lines
            .iter()
            .find(|line| line.rows[0].model == Origin::Teacher);
        if let Some(best) = teacher.and_then(|line| line.rows.last()) {
            let y = self.y.at(best.fid);
            let right = WIDTH - RIGHT;
            let _ = write!(
                svg,
                r#"<line class="reference" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#
            );
        }
    }

    fn line(&self, svg: &mut String, line: &Line) {
        let points: Vec<String> = line
            .rows
            .iter()
            .map(|row| self.place(row))
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let class = line.rows[0].model.name();
        let _ = write!(
            svg,
            r#"<g class="{class}"><polyline points="{}"/>"#,
            points.join(" ")
        );
        for (index, row) in line.rows.iter().enumerate() {
            let (x, y) = self.place(row);
            let hollow = if row.stored { r#" class="stored""# } else { "" };
            let before = index
                .checked_sub(1)
                .map(|before| self.place(line.rows[before]));
            let (side, label_x, label_y) = self.label_place((x, y), before);
            let title = format!(
                "{class}, {} steps, {} network calls: {:.2}",
                row.steps, row.network_calls, row.fid
            );
            let _ = write!(
                svg,
                r#"<circle{hollow} cx="{x:.1}" cy="{y:.1}" r="5"><title>{}</title></circle><text class="value {side}" x="{label_x:.1}" y="{label_y:.1}">{:.1}</text>"#,
                escape(&title),
                row.fid,
            );
        }
        svg.push_str("</g>");
    }

    /// Where the value of a point is written: above it; to the right where its own line falls
    /// steeply on it; below where another point is close above.
    fn label_place(&self, (x, y): (f64, f64), before: Option<(f64, f64)>) -> (&str, f64, f64) {
        let rows = self.lines.iter().flat_map(|line| &line.rows);
        let mut places = rows.map(|other| self.place(other));
        if places.any(|(other_x, other_y)| {
            (other_x - x).abs() < LABEL && (0.5..LABEL).contains(&(y - other_y))
        }) {
            return ("middle", x, y + 22.0);
        }
        match before {
            Some((_, before_y)) if y - before_y > LABEL => ("start", x + 7.0, y - 8.0),
            _ => ("middle", x, y - 12.0),
        }
    }

    /// Names of the lines, at the foot on the right: as distances start from 0, nothing is drawn
    /// there.
    fn legend(&self, svg: &mut String) {
        let x = WIDTH - RIGHT - 8.0;
        let top = HEIGHT - BOTTOM - 12.0 - 22.0 * self.lines.len().saturating_sub(1) as f64;
        for (index, line) in self.lines.iter().enumerate() {
            let first = line.rows[0];
            let name = format!("{}: {}, w = {}", first.model.name(), first.sampler, first.w);
            let _ = write!(
                svg,
                r#"<text class="legend end {}" x="{x:.1}" y="{:.1}">{}</text>"#,
                first.model.name(),
                top + 22.0 * index as f64,
                escape(&name),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row::tests::row;

    fn rows() -> Vec<Row> {
        vec![
            row(Origin::Teacher, 64, 6.0),
            row(Origin::Teacher, 8, 10.0),
            row(Origin::Teacher, 4, 16.0),
            row(Origin::Student, 8, 9.0),
            row(Origin::Student, 4, 6.6),
            row(Origin::Student, 1, 12.0),
        ]
    }

    #[test]
    fn better_is_lower_and_dearer_is_further_right() {
        let rows = rows();
        let plot = Plot::new(&rows);
        let [dear, cheap] = [&rows[0], &rows[5]].map(|row| plot.place(row));
        assert_eq!((plot.x.low, plot.x.high, plot.y.high), (1.0, 128.0, 20.0));
        assert!(dear.0 > cheap.0 && dear.1 > cheap.1, "{dear:?} {cheap:?}");
        assert!((plot.place(&rows[4]).0 - cheap.0) * 3.5 - (dear.0 - cheap.0) < 1e-9);
    }

    #[test]
    fn every_value_is_written_and_each_model_is_one_line() {
        let drawing = drawing(&rows(), "FID");
        for value in [">6.0<", ">10.0<", ">16.0<", ">9.0<", ">6.6<", ">12.0<"] {
            assert_eq!(drawing.matches(value).count(), 1, "{value}");
        }
        assert_eq!(drawing.matches("<polyline").count(), 2);
        assert_eq!(drawing.matches(r#"<circle class="stored""#).count(), 1);
        assert!(!drawing.contains("http"), "a page needs no name space");
        assert!(file(&rows(), "FID").starts_with(r#"<svg xmlns="http://www.w3.org/2000/svg""#));
    }

    #[test]
    fn labels_keep_clear_of_lines_and_of_near_points() {
        let rows = rows();
        let plot = Plot::new(&rows);
        let side = |index: usize, before: Option<usize>| {
            let before = before.map(|before| plot.place(&rows[before]));
            plot.label_place(plot.place(&rows[index]), before).0
        };
        // The first of a line, and one that a line falls on.
        assert_eq!((side(2, None), side(1, Some(2))), ("middle", "start"));
        // The teacher at 4 steps and the student at 8 both cost 8 calls.
        let close = [row(Origin::Teacher, 4, 16.0), row(Origin::Student, 8, 15.5)];
        let plot = Plot::new(&close);
        let below = |index: usize| {
            let place = plot.place(&close[index]);
            plot.label_place(place, None).2 > place.1
        };
        assert_eq!((below(0), below(1)), (false, true));
    }

    #[test]
    fn a_single_row_is_drawn_too() {
        let one = [row(Origin::Student, 1, 0.0)];
        assert!(!drawing(&one, "FID").contains("NaN") && !drawing(&[], "FID").contains("NaN"));
    }
}
