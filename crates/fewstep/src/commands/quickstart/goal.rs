//! The goal of quickstart, and the results that show whether it is reached.

use crate::report::{Origin, Row, ratio};

/// The goal: how many times its teacher's distance the student may have at [`GOAL_STEPS`] steps.
pub(super) const GOAL: f64 = 1.15;
pub(super) const GOAL_STEPS: usize = 4;

/// The name of the distance in the rows.
pub(super) const METRIC: &str = "classifier FID";

/// The row that the others are compared with: the teacher with the most network calls.
pub(super) fn reference(rows: &[Row]) -> Option<&Row> {
    let teachers = rows.iter().filter(|row| row.model == Origin::Teacher);
    teachers.max_by_key(|row| row.network_calls)
}

/// The row of the student for this number of steps.
pub(super) fn student(rows: &[Row], steps: usize) -> Option<&Row> {
    rows.iter()
        .find(|row| row.model == Origin::Student && row.steps == steps)
}

/// A sentence that says whether the goal is reached.
pub(super) fn verdict(rows: &[Row]) -> Option<String> {
    let (student, teacher) = (student(rows, GOAL_STEPS)?, reference(rows)?);
    let ratio = ratio(student, teacher);
    let relation = match ratio <= GOAL {
        true => "within",
        false => "not within",
    };
    Some(format!(
        "With {} network calls the student's {} is {:.2}, {ratio:.2} times its teacher's {:.2} with {} calls: {relation} the goal of {GOAL} times.",
        student.network_calls, METRIC, student.fid, teacher.fid, teacher.network_calls,
    ))
}
