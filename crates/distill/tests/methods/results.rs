//! What a method makes of its teacher: the student, the recipe of the model that comes out, and what
//! plans and runs know of it.

use crate::models::*;
use fewstep_diffusion::{DistilledFor, Guidance, PredictionKind, Role, SamplerRecipe};
use fewstep_distill::method::codi::{CodiConfig, CodiMethod};
use fewstep_distill::method::consistency::ConsistencyMethod;
use fewstep_distill::method::denoising::DenoisingStart;
use fewstep_distill::method::progressive::ProgressiveMethod;
use fewstep_distill::method::{
    Control, Distance, GuidanceWeights, Halving, Method, OdeModel, Trained,
};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, TrainedPart};

#[test]
fn students_take_w_where_it_varies() {
    let stage_one = |weights, model: &Model| guidance(weights).student(model, 0);
    let range = GuidanceWeights::Range([0.0, 2.0]);
    let takes = |network: Backbone| network.config().takes_w();
    assert!(takes(stage_one(range, &teacher(FREE)).expect("a student")));
    assert!(takes(stage_one(range, &teacher(INPUT)).expect("a student")));
    let single = GuidanceWeights::Single(1.5);
    assert!(!takes(
        stage_one(single, &teacher(FREE)).expect("a student")
    ));
    let error = stage_one(single, &teacher(INPUT)).expect_err("refused");
    assert!(error.to_string().contains("a single w"), "{error}");
    for weights in [None, RANGE] {
        let halved = progressive(weights, true).student(&teacher(FREE), 0);
        assert_eq!(takes(halved.expect("a student")), weights.is_some());
        let one_phase = consistency(weights).student(&teacher(FREE), 0);
        assert_eq!(takes(one_phase.expect("a student")), weights.is_some());
    }
}

#[test]
fn only_a_controlnet_that_is_there_is_trained() {
    let with = |control| CodiMethod {
        control,
        ..codi(None)
    };
    for train in [Trained::Full, Trained::ControlNet] {
        let method = with(control(train));
        let student = method.student(&teacher(FREE), 0).expect("a student");
        assert!(student.controlnet().is_some());
    }
    let nothing = |train| {
        with(Control {
            spec: None,
            ..control(train)
        })
    };
    let plain = nothing(Trained::Full).student(&teacher(FREE), 0);
    assert!(plain.expect("a student").controlnet().is_none());
    let refused = nothing(Trained::ControlNet).student(&teacher(FREE), 0);
    assert!(
        refused
            .expect_err("refused")
            .to_string()
            .contains("add [condition]")
    );
    assert_eq!(nothing(Trained::Full).trained_part(), TrainedPart::All);
    assert_eq!(
        nothing(Trained::ControlNet).trained_part(),
        TrainedPart::ControlNet
    );
}

/// The recipe of the model that comes out, of a teacher's that has everything to lose.
fn comes_out(method: &dyn Method, guidance: Guidance) -> SamplerRecipe {
    let mut recipe = changed(guidance, |recipe| {
        recipe.prediction = PredictionKind::Eps;
        recipe.image_guidance = Some(1.5);
    })
    .recipe;
    method.result(&mut recipe);
    recipe
}

fn role(sampler: DistilledFor, steps: Option<usize>) -> Role {
    Role::Student { sampler, steps }
}

#[test]
fn what_comes_out_says_how_it_is_sampled() {
    let stage_one = comes_out(&guidance(GuidanceWeights::Range([0.0, 2.0])), FREE);
    assert_eq!(stage_one.role, role(DistilledFor::Any, None));
    assert_eq!(
        (stage_one.guidance, stage_one.prediction),
        (INPUT, PredictionKind::V)
    );
    for (halving, sampler) in [
        (Halving::Deterministic, DistilledFor::Deterministic),
        (Halving::Stochastic, DistilledFor::Stochastic),
        (Halving::Encoder, DistilledFor::Encoder),
    ] {
        let halved = |weights| {
            let method = ProgressiveMethod {
                halving,
                ..progressive(weights, true)
            };
            comes_out(&method, FREE)
        };
        assert_eq!(halved(RANGE).role, role(sampler, Some(8)));
        assert_eq!(halved(RANGE).prediction, PredictionKind::V);
        assert_eq!(halved(RANGE).guidance, INPUT);
        assert_eq!(halved(None).guidance, FREE);
    }
    // Of one phase: a branch that was not trained is no branch.
    for (weights, before, after) in [(RANGE, FREE, INPUT), (ONE, FREE, FIXED)] {
        let trained = comes_out(&consistency(weights), before);
        assert_eq!(trained.guidance, after);
        assert_eq!(trained.role, role(DistilledFor::Consistency, None));
        assert_eq!(trained.prediction, PredictionKind::V);
        assert_eq!(trained.image_guidance, Some(1.5));
        assert_eq!(comes_out(&codi(weights), before).guidance, before);
    }
    let methods: [Box<dyn Method>; 2] = [Box::new(consistency(None)), Box::new(codi(None))];
    for method in methods {
        let unguided = comes_out(method.as_ref(), FREE);
        assert_eq!(
            (unguided.guidance, unguided.image_guidance),
            (Guidance::None, None)
        );
        assert_eq!(unguided.role, role(DistilledFor::Consistency, None));
        assert_eq!(unguided.prediction, PredictionKind::V);
        assert_eq!(comes_out(method.as_ref(), FIXED).guidance, FIXED);
    }
}

/// A method that starts from a student.
type OfStart = fn(Option<Model>) -> Box<dyn Method>;

#[test]
fn few_step_students_stay_what_they_are() {
    let methods: [OfStart; 3] = [
        |start| Box::new(matching(same, start)),
        |start| Box::new(adversarial(start)),
        |start| Box::new(adapt(None, start)),
    ];
    for method in methods {
        let goes_on = method(Some(student(INPUT)));
        assert_eq!(goes_on.steps(), Some(4));
        let of_start = goes_on.starts_from().expect("a student");
        assert_eq!(of_start.recipe.guidance, INPUT);
        let after = comes_out(goes_on.as_ref(), FREE);
        assert_eq!(after.role, role(DistilledFor::Deterministic, Some(4)));
        assert_eq!(
            (after.guidance, after.prediction),
            (INPUT, PredictionKind::V)
        );
        let unguided = comes_out(method(Some(student(Guidance::None))).as_ref(), FREE);
        assert_eq!(
            (unguided.guidance, unguided.image_guidance),
            (Guidance::None, None)
        );
        let fixed = comes_out(method(Some(student(FIXED))).as_ref(), FREE);
        assert_eq!(fixed.guidance, FIXED);
        // A recipe that is only described has no student.
        let described = method(None);
        assert!(described.steps().is_none() && described.starts_from().is_none());
    }
}

#[test]
fn control_images_are_those_of_the_data() {
    let with: [fn(Control) -> Box<dyn Method>; 3] = [
        |control| {
            Box::new(CodiMethod {
                control,
                ..codi(None)
            })
        },
        |control| {
            Box::new(ConsistencyMethod {
                control,
                ..consistency(None)
            })
        },
        |control| Box::new(denoising(0.0, DenoisingStart::Model(control))),
    ];
    for method in with {
        let method = method(control(Trained::Full));
        assert_eq!(comes_out(method.as_ref(), FREE).control, Some(spec()));
    }
    let scratch = denoising(0.0, DenoisingStart::Scratch);
    assert_eq!(comes_out(&scratch, FREE).control, None);
}

/// What plans and runs know of a method.
#[test]
fn methods_say_what_they_need() {
    let scratch = denoising(0.1, DenoisingStart::Scratch);
    let conditioned = denoising(0.1, DenoisingStart::Model(Control::default()));
    let fine_tuned = denoising(0.1, DenoisingStart::FineTune);
    let of_base = |ode_model| CodiMethod {
        config: CodiConfig {
            ode_model,
            ..CodiConfig::default()
        },
        ..codi(None)
    };
    let only_controlnet = CodiMethod {
        control: control(Trained::ControlNet),
        ..codi(None)
    };
    let start = || Some(student(INPUT));
    let range = GuidanceWeights::Range([0.0, 2.0]);
    // Name, whether it has a teacher, calls it, and trains LoRA.
    let methods: [(&dyn Method, &str, [bool; 3]); 12] = [
        (&scratch, "denoising", [false, false, false]),
        (&conditioned, "conditioned", [true, false, false]),
        (&fine_tuned, "fine-tuned", [true, false, true]),
        (&guidance(range), "guided", [true, true, true]),
        (&progressive(None, true), "progressive", [true, true, true]),
        (&consistency(None), "consistency", [true, true, false]),
        (&of_base(OdeModel::Online), "codi", [true, false, false]),
        (&of_base(OdeModel::Base), "codi", [true, true, false]),
        (&only_controlnet, "pe-codi", [true, false, false]),
        (&adapt(None, start()), "adapted", [true, true, true]),
        (&matching(same, start()), "matching", [true, true, true]),
        (&adversarial(start()), "adversarial", [true, true, true]),
    ];
    for (method, name, facts) in methods {
        assert_eq!(method.name(), name);
        let ours = [
            method.has_teacher(),
            method.calls_teacher(),
            method.supports_lora(),
        ];
        assert_eq!(ours, facts, "{name}");
    }
    assert_eq!(progressive(None, true).steps(), Some(8));
    assert_eq!(guidance(range).steps(), None);
    let turn = adversarial(start()).turn();
    assert_eq!((turn.every, turn.after), (3, 5));
    let turn = matching(|config| config.critic_updates = 7, start()).turn();
    assert_eq!((turn.every, turn.after), (7, 0));
    assert_eq!(guidance(range).turn().every, 1);
}

#[test]
fn losses_name_the_files_that_they_read() {
    let lpips = || Distance::Lpips("alex.safetensors".into());
    let mut of_codi = codi(None);
    of_codi.config.guidance_distance = lpips();
    let mut of_consistency = consistency(None);
    of_consistency.config.distance = lpips();
    for method in [&of_codi as &dyn Method, &of_consistency] {
        let files = method.weight_files();
        assert_eq!(files, [std::path::Path::new("alex.safetensors")]);
    }
    assert!(codi(None).weight_files().is_empty());
    assert!(
        guidance(GuidanceWeights::Single(1.0))
            .weight_files()
            .is_empty()
    );
}
