//! How near the students are to their teacher, on the page.

use super::Row;
use crate::commands::shared::fidelity::{interval, percent};

/// The section with a line for each student that is measured so; empty where none is.
pub(super) fn section(rows: &[Row]) -> String {
    let lines: Vec<String> = rows.iter().filter_map(line).collect();
    let measured = rows.iter().find_map(|row| row.fidelity.as_ref());
    let Some(first) = measured else {
        return String::new();
    };
    format!(
        r#"<section>
<h2>Is the student its teacher?</h2>
<p>{} images of each student against those that the teacher generates in {} steps from the same noise with the same w: squared error of values in [-1, 1], PSNR in dB, and the change of contrast and sharpness. "w followed" is the guidance that the student follows at the noisiest time and at the last one, measured on a few of the images. ± is the half-width of the 95 % interval over the images.</p>
<div class="wide"><table><thead><tr><th>Model</th><th>w</th><th>Steps</th><th>Squared error</th><th>PSNR</th><th>Contrast</th><th>Sharpness</th><th>w followed</th></tr></thead>
<tbody>
{}</tbody></table></div>
</section>
"#,
        first.images,
        first.teacher_steps,
        lines.concat(),
    )
}

fn line(row: &Row) -> Option<String> {
    let to = row.fidelity.as_ref()?;
    let followed = match to.effective_w.as_slice() {
        [] => String::new(),
        [only] => format!("{:.2} at t = {}", only.w.mean, only.t),
        [first, .., last] => format!(
            "{:.2} at t = {}, {:.2} at {}",
            first.w.mean, first.t, last.w.mean, last.t
        ),
    };
    Some(format!(
        r#"<tr class="{model}"><td>{model}</td><td>{}</td><td>{}</td><td class="fid">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{followed}</td></tr>
"#,
        row.w,
        row.steps,
        interval(to.fidelity.mse, 4),
        interval(to.fidelity.psnr, 1),
        percent(to.fidelity.contrast),
        percent(to.fidelity.sharpness),
        model = row.model.name(),
    ))
}
