//! The page itself: one file, no script, nothing loaded from elsewhere.

use super::html::{data_uri, escape};
use super::row::{against, ratio, reference};
use super::{Grid, Grids, Report, Row, fidelity, losses, plot};

const STYLE: &str = include_str!("page.css");

/// The report as HTML.
pub(super) fn page(report: &Report) -> String {
    let body = [
        header(report),
        images(&report.grids),
        quality(report),
        fidelity::section(&report.rows),
        summary(report),
        making(report),
        next(&report.next),
    ];
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
{body}<footer>Made by fewstep {version}. This page is one file: keep it, send it, print it.</footer>
</main>
</body>
</html>
"#,
        title = escape(&report.title),
        body = body.concat(),
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn header(report: &Report) -> String {
    let highlight = |h: &super::Highlight| {
        format!(
            "<div><dt>{}</dt><dd>{}</dd></div>\n",
            escape(&h.value),
            escape(&h.label)
        )
    };
    let highlights: String = report.highlights.iter().map(highlight).collect();
    format!(
        r#"<header>
<p class="source">{}</p>
<h1>{}</h1>
<p class="lead">{}</p>
<dl class="highlights">
{highlights}</dl>
</header>
"#,
        escape(&report.source),
        escape(&report.title),
        escape(&report.lead),
    )
}

fn images(grids: &Grids) -> String {
    if grids.grids.is_empty() {
        return String::new();
    }
    let name = |name: &String| format!("<li>{}</li>", escape(name));
    let names: String = grids.row_names.iter().map(name).collect();
    let figures: String = grids.grids.iter().map(figure).collect();
    format!(
        r#"<section>
<h2>The same seeds, side by side</h2>
<p>{note}</p>
<div class="grids" style="--columns: {columns}">
<div class="names"><ol>{names}</ol></div>
{figures}</div>
</section>
"#,
        note = escape(&grids.note),
        columns = grids.grids.len(),
    )
}

fn figure(grid: &Grid) -> String {
    let detail = |line: &String| format!("<span>{}</span>", escape(line));
    format!(
        r#"<figure{class}><figcaption><strong>{name}</strong>{details}</figcaption><img src="{source}" alt="Images by the {alt}"></figure>
"#,
        class = if grid.is_highlighted {
            r#" class="first""#
        } else {
            ""
        },
        name = escape(&grid.name),
        details = grid.details.iter().map(detail).collect::<String>(),
        source = data_uri(&grid.png),
        alt = escape(&grid.name.to_lowercase()),
    )
}

fn quality(report: &Report) -> String {
    format!(
        r#"<section>
<h2>Quality against cost</h2>
<p>{measure}</p>
{plot}
</section>
<section>
<h2>All results</h2>
<div class="wide">{table}</div>
{stored}</section>
"#,
        measure = escape(&report.measure),
        plot = plot::drawing(&report.shown(), report.metric),
        table = table(&report.rows, report.metric),
        stored = match report.rows.iter().any(|row| row.stored) {
            true =>
                "<p class=\"quiet\">* Measured earlier and kept with the program, not on this machine.</p>\n",
            false => "",
        },
    )
}

fn table(rows: &[Row], metric: &str) -> String {
    let line = |row: &Row| {
        format!(
            r#"<tr class="{model}"><td>{model}{mark}</td><td>{sampler}</td><td>{steps}</td><td>{w}</td><td>{calls}</td><td class="fid">{fid:.2}</td><td>{against}</td><td>{time:.1}</td><td>{samples}</td></tr>
"#,
            model = row.model.name(),
            mark = if row.stored { "*" } else { "" },
            sampler = escape(&row.sampler),
            steps = row.steps,
            w = row.w,
            calls = row.network_calls,
            fid = row.fid,
            against =
                reference(rows, row.w).map_or(String::new(), |r| format!("{:.2} ×", ratio(row, r))),
            time = row.seconds_per_image * 1e3,
            samples = row.samples,
        )
    };
    let against = against(rows);
    format!(
        r#"<table><thead><tr><th>Model</th><th>Sampler</th><th>Steps</th><th>w</th><th>Network calls</th><th>{}</th><th>{against}</th><th>ms an image</th><th>Images</th></tr></thead>
<tbody>
{}</tbody></table>
"#,
        escape(metric),
        rows.iter().map(line).collect::<String>(),
    )
}

fn summary(report: &Report) -> String {
    let paragraph = |text: &String| format!("<p>{}</p>\n", escape(text));
    let curves: String = report.losses.iter().map(losses::drawing).collect();
    format!(
        r#"<section>
<h2>What happened</h2>
{}<div class="losses">
{curves}</div>
</section>
"#,
        report.summary.iter().map(paragraph).collect::<String>(),
    )
}

fn making(report: &Report) -> String {
    let fact = |(name, value): &(String, String)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value))
    };
    format!(
        r#"<section>
<h2>How it was made</h2>
<dl class="facts">
{}</dl>
<details><summary>The recipe</summary><pre>{}</pre></details>
</section>
"#,
        report.facts.iter().map(fact).collect::<String>(),
        escape(report.recipe.trim_end()),
    )
}

fn next(steps: &[(String, String)]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let step = |(what, command): &(String, String)| {
        format!(
            "<div><p>{}</p><pre>{}</pre></div>\n",
            escape(what),
            escape(command)
        )
    };
    format!(
        "<section>\n<h2>Go on from here</h2>\n<div class=\"next\">\n{}</div>\n</section>\n",
        steps.iter().map(step).collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row::Origin;
    use crate::report::row::tests::{compared, row};
    use crate::report::{Highlight, LossCurve};

    fn report() -> Report {
        Report {
            source: "a & b".into(),
            title: "Four calls".into(),
            lead: "Less than 128.".into(),
            highlights: vec![Highlight {
                value: "1.08 ×".into(),
                label: "the teacher's distance".into(),
            }],
            summary: vec!["First <this>.".into()],
            grids: Grids {
                note: "A note.".into(),
                row_names: vec!["T-shirt/top".into()],
                grids: vec![Grid {
                    name: "Student".into(),
                    details: vec!["4 calls".into()],
                    is_highlighted: true,
                    png: b"image".to_vec(),
                }],
            },
            rows: vec![
                row(Origin::Teacher, 64, 6.0),
                row(Origin::Student, 4, 6.6),
                compared(0.5, 2, 9.9),
            ],
            w: 1.0,
            metric: "classifier FID",
            measure: "Lower is better.".into(),
            losses: vec![LossCurve {
                phase: "guided".into(),
                points: vec![(10, 0.5), (20, 0.25)],
                players: vec![],
                seconds: 3.0,
            }],
            facts: vec![("Seed".into(), "1".into())],
            recipe: "w = [0, 4] # <all>".into(),
            next: vec![("Generate".into(), "fewstep sample --model runs/a".into())],
        }
    }

    #[test]
    fn every_part_is_on_the_page_and_escaped() {
        let page = page(&report());
        for part in [
            "a &amp; b",
            "<h1>Four calls</h1>",
            "<dt>1.08 ×</dt>",
            "<p>First &lt;this&gt;.</p>",
            "<li>T-shirt/top</li>",
            r#"<figure class="first">"#,
            "data:image/png;base64,aW1hZ2U=",
            "<td>1.10 ×</td>",
            "to 128 calls",
            "Is the student its teacher?",
            ">0.0125 ± 0.0010</td>",
            "<td>0.90 at t = 1</td>",
            "<td>-1.0 ± 1.0 %</td><td>+2.0 ± 3.0 %</td>",
            "teacher*",
            "* Measured earlier",
            r#"<figure class="loss">"#,
            "<dt>Seed</dt><dd>1</dd>",
            "w = [0, 4] # &lt;all&gt;",
            "<pre>fewstep sample --model runs/a</pre>",
        ] {
            assert!(page.contains(part), "{part} is missing");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page(&report());
        for foreign in ["http", "<script", "<link", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    /// The plot is of one w, the tables of all.
    #[test]
    fn other_weights_are_in_the_tables_only() {
        let page = page(&report());
        let (before, after) = page.split_once("All results").expect("both sections");
        assert!(!before.contains(">9.9<") && after.contains(">9.90<"));
    }

    #[test]
    fn a_run_without_images_has_no_section_for_them() {
        let mut report = report();
        report.grids.grids.clear();
        report.next.clear();
        let page = page(&report);
        assert!(!page.contains("<img") && !page.contains("Go on from here"));
    }
}
