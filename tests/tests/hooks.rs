//! Hooks that do not fit are errors, never silent: sites a model does not have, sites never reached, values of another shape.

use circuit_index::{LayerSite, Site};
use circuit_model::{Hooks, Model, ModelError, TokenBatch};
use circuit_tests::demo;
use tch::{Device, Kind, Tensor};

#[test]
fn what_was_asked_of_a_site_happens_or_is_an_error() {
    let model = Model::open(&demo().join("model"), Kind::Float, Device::Cpu).unwrap();
    let tokens = TokenBatch::new(&[1u32, 7, 9].map(circuit_index::TokenId), &model).unwrap();
    let site = |name: &str| name.parse::<Site>().unwrap();
    let run = |hooks: &mut Hooks<'_>| model.forward(&tokens, hooks);

    // A layer too many, and a norm that this family does not have.
    for name in ["blocks.4.hook_resid_mid", "blocks.0.ln1_post.hook_scale"] {
        let error = run(&mut Hooks::new().record([site(name)])).unwrap_err();
        assert!(
            matches!(error, ModelError::NoSuchSite { .. }) && error.to_string().contains(name),
            "{error}"
        );
    }
    // No pass at all: the edit never took place.
    let edit = || Hooks::new().edit(site("blocks.1.hook_mlp_out"), Ok);
    assert!(matches!(edit().finish(), Err(ModelError::SiteNotReached { .. })));
    let mut reached = edit();
    let _ = run(&mut reached).unwrap();
    assert!(reached.finish().unwrap().is_empty());
    // Values of another shape, given or made.
    let wrong = Tensor::zeros([1, 2, 128], (Kind::Float, Device::Cpu));
    let at = Site::Block(1.into(), LayerSite::MlpOut);
    let shapes = [
        Hooks::new().hold(at, wrong.shallow_clone()),
        Hooks::new().add(at, wrong),
        Hooks::new().edit(at, |value| Ok(value.narrow(1, 0, 2))),
    ];
    for mut hooks in shapes {
        let error = run(&mut hooks).unwrap_err();
        assert!(matches!(error, ModelError::SiteShape { .. }), "{error}");
        assert!(
            error.to_string().contains("[1, 3, 128]") && error.to_string().contains("[1, 2, 128]"),
            "{error}"
        );
    }
    // Two additions at one site both count, and one batch row serves all.
    let one = || Tensor::ones([1, 1, 128], (Kind::Float, Device::Cpu));
    let mut twice = Hooks::new().add(at, one()).add(at, one()).record([at]);
    let mut plain = Hooks::new().record([at]);
    let _ = model.forward(&tokens.repeat(2), &mut twice).unwrap();
    let _ = model.forward(&tokens.repeat(2), &mut plain).unwrap();
    let moved = &twice.finish().unwrap()[&at] - &plain.finish().unwrap()[&at];
    assert!((moved - 2.0).abs().max().double_value(&[]) < 1e-5);
}
