//! The goal of quickstart, and the results that show whether it is reached.

use crate::report::{Origin, Row, ratio, reference};

/// The goal: how many times its teacher's distance the student may have at [`GOAL_STEPS`] steps.
pub(super) const GOAL: f64 = 1.15;
pub(super) const GOAL_STEPS: usize = 4;

/// The name of the distance in the rows.
pub(super) const METRIC: &str = "classifier FID";

/// The row of the student for this number of steps, with this w.
pub(super) fn student(rows: &[Row], steps: usize, w: f64) -> Option<&Row> {
    rows.iter()
        .find(|row| (row.model, row.steps, row.w) == (Origin::Student, steps, w))
}

/// Sentences that say whether the goal is reached, and how far other w are from it.
pub(super) fn verdict(rows: &[Row], w: f64) -> Option<String> {
    let (student, teacher) = (student(rows, GOAL_STEPS, w)?, reference(rows, w)?);
    let ratio = ratio(student, teacher);
    let relation = match ratio <= GOAL {
        true => "within",
        false => "not within",
    };
    Some(format!(
        "With {} network calls and w = {w} the student's {} is {:.2}, {ratio:.2} times its teacher's {:.2} with {} calls: {relation} the goal of {GOAL} times.{}",
        student.network_calls,
        METRIC,
        student.fid,
        teacher.fid,
        teacher.network_calls,
        of_others(rows, w),
    ))
}

/// A sentence with the ratios of [`GOAL_STEPS`] at every other w; empty where there is none.
pub(super) fn of_others(rows: &[Row], w: f64) -> String {
    let students = rows
        .iter()
        .filter(|row| (row.model, row.steps) == (Origin::Student, GOAL_STEPS) && row.w != w);
    let others: Vec<String> = students
        .filter_map(|student| {
            let ratio = ratio(student, reference(rows, student.w)?);
            Some(format!("{ratio:.2} times with w = {}", student.w))
        })
        .collect();
    match others.is_empty() {
        true => String::new(),
        false => format!(" It is {}.", others.join(", ")),
    }
}
