//! Which teachers, students and settings a method refuses.

use crate::models::*;
use fewstep_diffusion::{DistilledFor, Guidance, PredictionKind, Role};
use fewstep_distill::method::denoising::{DenoisingMethod, DenoisingStart};
use fewstep_distill::method::guidance::GuidanceMethod;
use fewstep_distill::method::matching::{MatchingConfig, MatchingMethod};
use fewstep_distill::method::progressive::ProgressiveMethod;
use fewstep_distill::method::{GuidanceWeights, Halving, LossWeighting, Method};
use fewstep_formats::Model;
use fewstep_nn::UNetConfig;

fn accepted(method: &dyn Method, teacher: &Model) {
    let checked = method.check(teacher);
    let of = &teacher.recipe.guidance;
    assert!(checked.is_ok(), "{method:?}, {of:?}: {checked:?}");
}

fn refused(method: &dyn Method, teacher: &Model, said: &str) {
    let of = &teacher.recipe.guidance;
    match method.check(teacher) {
        Ok(()) => panic!("{method:?} accepts {of:?}"),
        Err(error) => assert!(error.to_string().contains(said), "{said}: {error}"),
    }
}

#[test]
fn stages_need_a_teacher_to_guide() {
    let stage_one = guidance(GuidanceWeights::Range([0.0, 2.0]));
    accepted(&stage_one, &teacher(FREE));
    for folded in [INPUT, FIXED] {
        refused(&stage_one, &teacher(folded), "already a student");
    }
    refused(
        &stage_one,
        &teacher(Guidance::None),
        "no unconditional branch",
    );
    let first = progressive(RANGE, true);
    accepted(&first, &teacher(FREE));
    refused(&first, &teacher(Guidance::None), "no unconditional branch");
    accepted(&progressive(RANGE, false), &teacher(Guidance::None));
    accepted(&progressive(None, true), &teacher(Guidance::None));
}

/// What is said of the settings of a new run with this teacher.
fn said_of_settings(method: &dyn Method, teacher: &Model) -> String {
    let checked = method.check_settings(teacher);
    checked.map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn a_halving_starts_from_the_steps_that_its_teacher_has() {
    let halving = |steps, halving| ProgressiveMethod {
        steps,
        halving,
        ..progressive(RANGE, true)
    };
    let to = |steps| halving(steps, Halving::Deterministic);
    let of_four = student(INPUT);
    for (method, teacher) in [
        (to(2), &of_four),
        (to(8), &teacher(INPUT)),
        (halving(8, Halving::Encoder), &of_any_steps(INPUT)),
    ] {
        assert_eq!(said_of_settings(&method, teacher), "");
    }
    for (method, said) in [
        (to(1), "`progressive.start_steps` is 2"),
        (to(4), "a student with 4 as its number of steps"),
        (to(4), "(models/steps-8 of a run)"),
        (halving(2, Halving::Stochastic), "the deterministic sampler"),
        (halving(2, Halving::Encoder), "the deterministic sampler"),
    ] {
        let message = said_of_settings(&method, &of_four);
        assert!(message.contains(said), "{said}: {message}");
    }
}

#[test]
fn a_teacher_that_is_asked_at_every_noise_level_knows_them_all() {
    let of_few = student(FREE);
    let methods: [&dyn Method; 3] = [
        &guidance(GuidanceWeights::Range([0.0, 2.0])),
        &consistency(RANGE),
        &codi(RANGE),
    ];
    for method in methods {
        let message = said_of_settings(method, &of_few);
        assert!(
            message.contains("every noise level"),
            "{method:?}: {message}"
        );
        for of in [teacher(FREE), of_any_steps(FREE)] {
            assert_eq!(said_of_settings(method, &of), "", "{method:?}");
        }
    }
    let consistent = changed(FREE, |recipe| {
        recipe.role = Role::Student {
            sampler: DistilledFor::Consistency,
            steps: None,
        };
    });
    let halving = progressive(RANGE, true);
    let message = said_of_settings(&halving, &consistent);
    assert!(message.contains("the consistency sampler"), "{message}");
    let message = said_of_settings(&consistency(RANGE), &consistent);
    assert!(message.contains("every noise level"), "{message}");
    let start = || Some(student(FREE));
    refused(&matching(same, start()), &of_few, "every noise level");
    refused(&adversarial(start()), &of_few, "every noise level");
}

#[test]
fn methods_of_one_phase_take_w_as_their_teachers_do() {
    for (weights, of) in [
        (None, Guidance::None),
        (None, FREE),
        (None, FIXED),
        (RANGE, FREE),
        (ONE, FREE),
        (RANGE, INPUT),
    ] {
        accepted(&consistency(weights), &teacher(of));
    }
    for (weights, of, said) in [
        (RANGE, Guidance::None, "no unconditional branch"),
        (RANGE, FIXED, "folded in already"),
        (ONE, INPUT, "folded in already"),
        (None, INPUT, "give the range"),
    ] {
        refused(&consistency(weights), &teacher(of), said);
    }
    for (weights, of) in [(None, Guidance::None), (None, FIXED), (RANGE, FREE)] {
        accepted(&codi(weights), &teacher(of));
    }
    for (weights, of, said) in [
        (RANGE, Guidance::None, "no unconditional branch"),
        (RANGE, INPUT, "guidance folded in"),
        (ONE, FIXED, "guidance folded in"),
        (None, INPUT, "before guidance was folded in"),
    ] {
        refused(&codi(weights), &teacher(of), said);
    }
    refused(&codi(RANGE), &editor(), "source image");
    accepted(&codi(None), &editor());
}

#[test]
fn few_step_students_go_with_their_teachers() {
    let other = |guidance| {
        let mut model = student(guidance);
        model.recipe.classes.pop();
        model
    };
    let deterministic = || student(FREE);
    for of in [FREE, INPUT] {
        accepted(&matching(same, Some(student(INPUT))), &teacher(of));
        accepted(&adapt(None, Some(student(INPUT))), &teacher(of));
    }
    accepted(&adversarial(Some(student(INPUT))), &teacher(FREE));
    // A discriminator of real images needs the teacher's two branches.
    refused(
        &adversarial(Some(student(INPUT))),
        &teacher(INPUT),
        "two branches",
    );
    accepted(
        &adversarial(Some(student(Guidance::None))),
        &teacher(Guidance::None),
    );
    for start in [None, Some(other(INPUT)), Some(deterministic())] {
        let said = match &start {
            None => "there is no student to start from",
            Some(start) if start.recipe.guidance == INPUT => "classes",
            Some(_) => "two branches",
        };
        refused(&matching(same, start.clone()), &teacher(FREE), said);
        refused(&adversarial(start.clone()), &teacher(FREE), said);
        refused(&adapt(None, start), &teacher(FREE), said);
    }
    // A message names the key where the recipe has it.
    for (method, key) in [
        (
            &matching(same, None) as &dyn Method,
            "set `matching.student`",
        ),
        (&adversarial(None), "set `adversarial.student`"),
        (&adapt(None, None), "set `student`"),
    ] {
        refused(method, &teacher(FREE), key);
    }
    refused(
        &adapt(Some(6), Some(student(INPUT))),
        &teacher(FREE),
        "such as 8",
    );
    accepted(&adapt(Some(8), Some(student(INPUT))), &teacher(FREE));
}

#[test]
fn settings_of_matching_go_with_guidance() {
    let twice = |config: &mut MatchingConfig| config.w_factor = 2.0;
    let gan = |config: &mut MatchingConfig| config.gan.weight = 0.1;
    accepted(&matching(twice, Some(student(INPUT))), &teacher(INPUT));
    let unguided = matching(twice, Some(student(Guidance::None)));
    refused(&unguided, &teacher(Guidance::None), "w_factor");
    refused(
        &matching(twice, Some(student(FIXED))),
        &teacher(FIXED),
        "w_factor",
    );
    accepted(&matching(same, Some(student(FIXED))), &teacher(FIXED));
    accepted(&matching(twice, Some(student(FIXED))), &teacher(FREE));
    accepted(&matching(gan, Some(student(INPUT))), &teacher(FREE));
    refused(
        &matching(gan, Some(student(INPUT))),
        &teacher(INPUT),
        "two branches",
    );
}

/// A clipped target has no meaning for latents, and a weight without bound is for no network.
#[test]
fn settings_are_checked_against_the_teacher() {
    let latent = changed(FREE, |recipe| recipe.clip = false);
    let of_images = changed(FREE, |recipe| recipe.prediction = PredictionKind::X);
    let start = || {
        let mut start = student(INPUT);
        start.recipe.prediction = PredictionKind::X;
        Some(start)
    };
    let clips = |clip_targets| -> [Box<dyn Method>; 3] {
        let mut of_matching = matching(same, start());
        of_matching.config.clip_targets = clip_targets;
        [
            Box::new(GuidanceMethod {
                clip_targets,
                ..guidance(GuidanceWeights::Range([0.0, 2.0]))
            }),
            Box::new(ProgressiveMethod {
                clip_targets,
                ..progressive(RANGE, true)
            }),
            Box::new(of_matching),
        ]
    };
    let said = |method: &dyn Method, teacher: &Model| match method.check_settings(teacher) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    };
    for (clip, teacher, refused) in [
        (true, &latent, true),
        (false, &latent, false),
        (true, &teacher(FREE), false),
        (false, &teacher(FREE), false),
    ] {
        for method in clips(clip) {
            let message = said(method.as_ref(), teacher);
            assert_eq!(message.contains("`clip_targets`"), refused, "{message}");
            assert_eq!(message.is_empty(), !refused, "{message}");
        }
    }
    let weighting = Some(LossWeighting::TruncatedSnr);
    let unbounded: [Box<dyn Method>; 4] = [
        Box::new(GuidanceMethod {
            weighting,
            ..guidance(GuidanceWeights::Range([0.0, 2.0]))
        }),
        Box::new(ProgressiveMethod {
            weighting,
            ..progressive(RANGE, true)
        }),
        Box::new(MatchingMethod {
            weighting,
            ..matching(same, start())
        }),
        Box::new(DenoisingMethod {
            weighting,
            ..denoising(0.1, DenoisingStart::Scratch)
        }),
    ];
    for method in unbounded {
        let message = said(method.as_ref(), &of_images);
        assert!(message.contains("predicts the image"), "{message}");
        assert_eq!(said(method.as_ref(), &teacher(FREE)), "");
    }
    assert_eq!(said(&adapt(None, start()), &of_images), "");
    assert!(said(&adapt(None, None), &of_images).contains("no student"));
}

#[test]
fn a_third_of_the_labels_may_be_dropped_three_ways() {
    let of = |dropout: f64, model: &Model| {
        let method = denoising(dropout, DenoisingStart::FineTune);
        method.check_settings(model).is_ok()
    };
    assert!(of(1.0 / 3.0, &editor()) && of(0.05, &editor()));
    assert!(!of(0.34, &editor()) && !of(0.9, &editor()));
    assert!(of(0.34, &teacher(FREE)) && of(0.9, &teacher(FREE)));
}

#[test]
fn dropped_labels_need_a_class_that_means_none() {
    let with = |classes, null_class| Model {
        network: network(UNetConfig {
            classes,
            null_class,
            ..config()
        }),
        ..teacher(FREE)
    };
    let start = |dropout, model: &Model| {
        let method = denoising(dropout, DenoisingStart::FineTune);
        method.student(model, 0).is_ok()
    };
    assert!(start(0.1, &with(2, true)) && start(0.0, &with(2, false)));
    assert!(start(0.1, &with(0, true)) && start(0.1, &with(0, false)));
    assert!(!start(0.1, &with(2, false)));
    // Training from scratch is checked with its recipe.
    let scratch = denoising(0.1, DenoisingStart::Scratch);
    assert!(scratch.student(&with(2, false), 0).is_ok());
}
