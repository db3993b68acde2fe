//! The goal of quickstart, and the results that show whether it is reached.

use crate::report::{Origin, Row, ratio, reference};

/// The goal: how many times its teacher's distance the student may have at [`GOAL_STEPS`] steps.
pub(super) const GOAL: f64 = 1.1;
pub(super) const GOAL_STEPS: usize = 4;

/// The name of the distance in the rows.
pub(super) const METRIC: &str = "classifier FID";

/// The row of the student for this number of steps, with this w: of the matched one, where there is
/// one for both.
pub(super) fn student(rows: &[Row], steps: usize, w: f64) -> Option<&Row> {
    let of = |model| {
        let mut rows = rows.iter();
        rows.find(|row| (row.model, row.steps, row.w) == (model, steps, w))
    };
    of(Origin::Matched).or_else(|| of(Origin::Student))
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
        "With {} network calls and w = {w} the {}'s {} is {:.2}, {ratio:.2} times its teacher's {:.2} with {} calls: {relation} the goal of {GOAL} times.{}",
        student.network_calls,
        student.model.name(),
        METRIC,
        student.fid,
        teacher.fid,
        teacher.network_calls,
        of_others(rows, w),
    ))
}

/// A sentence with the ratios of [`GOAL_STEPS`] at every other w; empty where there is none.
pub(super) fn of_others(rows: &[Row], w: f64) -> String {
    let mut weights: Vec<f64> = rows.iter().map(|row| row.w).filter(|of| *of != w).collect();
    weights.dedup();
    let others: Vec<String> = weights
        .into_iter()
        .filter_map(|w| {
            let student = student(rows, GOAL_STEPS, w)?;
            let ratio = ratio(student, reference(rows, w)?);
            Some(format!("{ratio:.2} times with w = {w}"))
        })
        .collect();
    match others.is_empty() {
        true => String::new(),
        false => format!(" It is {}.", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row_for_tests as row;

    fn with_w(w: f64, row: Row) -> Row {
        Row { w, ..row }
    }

    /// The matched student counts where there is one, the plain one elsewhere.
    #[test]
    fn the_verdict_is_about_the_matched_student() {
        let mut rows = vec![
            with_w(0.5, row(Origin::Teacher, 64, 10.0)),
            with_w(0.5, row(Origin::Student, 4, 14.0)),
            with_w(0.5, row(Origin::Matched, 4, 9.0)),
            row(Origin::Teacher, 64, 20.0),
            row(Origin::Teacher, 8, 40.0),
            row(Origin::Student, 4, 23.0),
            with_w(4.0, row(Origin::Teacher, 64, 50.0)),
            with_w(4.0, row(Origin::Student, 4, 60.0)),
        ];
        let said = verdict(&rows, 1.0).unwrap_or_default();
        assert_eq!(
            said,
            "With 4 network calls and w = 1 the student's classifier FID is 23.00, 1.15 times its teacher's 20.00 with 128 calls: not within the goal of 1.1 times. It is 0.90 times with w = 0.5, 1.20 times with w = 4."
        );
        rows.push(row(Origin::Matched, 4, 22.0));
        let said = verdict(&rows, 1.0).unwrap_or_default();
        assert!(
            said.contains("the matched student's classifier FID is 22.00, 1.10 times")
                && said.contains(": within the goal"),
            "{said}"
        );
        assert_eq!(verdict(&rows, 2.0), None);
    }
}
