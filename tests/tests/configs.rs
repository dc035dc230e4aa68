//! Configs: a table of family, key and value that says for each whether the model loads, loads with a warning, or is refused, and
//! with which words.
//!
//! The table is `fixtures/configs/table.json`. Each row starts from a config as one of two versions of transformers saves it
//! (`4.57.json`, `5.24.json`; made by `fixtures/make_configs.py`). What loads must also describe the model that this version of
//! transformers computes with. Where the versions differ, a row says which of them is followed.

use circuit_model::ModelConfig;
use circuit_model::spec::{Act, AttnSpec, Gate, ModelSpec, Reach, RopeSpec};
use circuit_tests::json;
use serde_json::{Value, json};

const VERSIONS: [&str; 2] = ["4.57", "5.24"];

/// A config with keys changed, or taken out where the value is "-". `outer/inner` is a key of an object.
fn edited(config: &Value, edit: &Value) -> Value {
    let mut config = config.clone();
    for (path, value) in edit.as_object().into_iter().flatten() {
        let (outer, key) = path.rsplit_once('/').map_or((None, path.as_str()), |(o, k)| (Some(o), k));
        let inside = match outer {
            Some(outer) => &mut config[outer],
            None => &mut config,
        };
        let inside = inside.as_object_mut().unwrap();
        match value == "-" {
            true => inside.remove(key),
            false => inside.insert(key.to_owned(), value.clone()),
        };
    }
    config
}

fn read(config: &Value) -> Result<ModelConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    ModelConfig::read(folder.path()).map_err(|error| error.to_string())
}

fn notices(config: &ModelConfig) -> String {
    config.notices().iter().map(|notice| format!("{notice}\n")).collect()
}

/// Whether numbers agree to what float32 holds, and everything else exactly.
fn agree(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 2e-6 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| agree(a, b)))
        }
        _ => found == expected,
    }
}

fn act(act: Act) -> &'static str {
    match act {
        Act::Silu => "silu",
        Act::Gelu => "gelu",
        Act::GeluTanh => "gelu_tanh",
        Act::QuickGelu => "quick_gelu",
        Act::Relu => "relu",
    }
}

fn rope(rope: Option<RopeSpec>, attn: &AttnSpec) -> Value {
    rope.map_or(
        Value::Null,
        |rope| json!({"frequencies": rope.frequencies(attn.d_head), "length": rope.length()}),
    )
}

/// A description in the words of `make_configs.py`.
fn in_their_words(spec: &ModelSpec) -> Value {
    let (attn, mlp) = (&spec.layers[0].attn, &spec.layers[0].mlp);
    let window = |reach| match reach {
        Reach::Global => None,
        Reach::Window(n) => Some(n.get()),
    };
    let of = |wanted: bool| {
        let layer = spec.layers.iter().find(|layer| (layer.attn.reach == Reach::Global) == wanted);
        layer.or_else(|| spec.layers.first()).and_then(|layer| layer.attn.rope)
    };
    let mut words = json!({
        "class": spec.architecture,
        "d_model": spec.d_model,
        "d_vocab": spec.d_vocab,
        "n_ctx": spec.n_ctx,
        "n_layers": spec.n_layers(),
        "n_heads": attn.n_heads,
        "n_kv_heads": attn.n_kv_heads,
        "d_head": attn.d_head,
        "scales": spec.layers.iter().map(|layer| layer.attn.scale).collect::<Vec<_>>(),
        "soft_cap": attn.soft_cap,
        "qk_norm": attn.qk_norm.is_some(),
        "biases": [attn.qkv_bias, attn.out_bias, mlp.bias],
        "d_mlp": mlp.d_mlp,
        "act": act(mlp.act),
        "eps": spec.final_norm.eps,
        "windows": spec.layers.iter().map(|layer| window(layer.attn.reach)).collect::<Vec<_>>(),
        "logits_soft_cap": spec.unembed.soft_cap,
        "tied": spec.unembed.tied,
        "rope": rope(of(true), attn),
        "local_rope": rope(of(false), attn),
    });
    if let Gate::Clamped { limit } = mlp.gate {
        words["limit"] = limit.into();
    }
    if let Some(experts) = mlp.experts {
        words["experts"] = json!([experts.n_experts, experts.n_chosen]);
    }
    words
}

/// What differs between a description and what a version of transformers computes with.
fn differences(spec: &ModelSpec, base: &Value, row: &Value) -> Vec<String> {
    let found = in_their_words(spec);
    if let Some(error) = row.get("error") {
        return vec![format!("transformers fails with {error}")];
    }
    let keys = base.as_object().unwrap().keys().chain(row.as_object().unwrap().keys());
    let differs = keys.filter_map(|key| {
        let expected = row.get(key).unwrap_or(&base[key]);
        // Transformers makes no frequencies for a kind of layer that a model does not have.
        let absent = expected.is_null() && (key == "rope" || key == "local_rope");
        (!absent && !agree(&found[key], expected))
            .then(|| format!("{key}: {} and not {expected}", found[key]))
    });
    differs.collect()
}

#[test]
fn every_row_of_the_table_loads_warns_or_is_refused_as_it_says() {
    let table = json("configs", "table.json");
    let rows = table["rows"].as_array().unwrap();
    let mut faults = Vec::new();
    for version in VERSIONS {
        let made = json("configs", &format!("{version}.json"));
        assert_eq!(made["rows"].as_array().unwrap().len(), rows.len(), "{version}.json is not of this table");
        for (row, theirs) in rows.iter().zip(made["rows"].as_array().unwrap()) {
            let base = row["base"].as_str().unwrap();
            let mut fault = |what: String| faults.push(format!("{version} {base} {}: {what}", row["edit"]));
            let config = edited(&made["saved"][base], &row["edit"]);
            let read = read(&config);
            let said = match &read {
                Ok(config) => notices(config),
                Err(message) => message.clone(),
            };
            let outcome = match &read {
                Ok(_) if said.is_empty() => "loads",
                Ok(_) => "warns",
                Err(_) => "refused",
            };
            if row["outcome"] != outcome {
                fault(format!("{outcome}, expected {}; {said}", row["outcome"]));
                continue;
            }
            let words = row["words"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let missing: Vec<_> = words.filter(|word| !said.contains(word)).collect();
            if !missing.is_empty() || (outcome != "loads" && !said.contains("config.json: ")) {
                fault(format!("{missing:?} is not in: {said}"));
            }
            let followed = row.get("follows").is_none_or(|follows| follows == version);
            if let Ok(config) = &read
                && followed
                && row.get("compare").is_none()
            {
                let differences = differences(config.spec(), &made["resolved"][base], theirs);
                if !differences.is_empty() {
                    fault(differences.join("; "));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn strict_readers_refuse_unknown_keys_and_nothing_else() {
    let made = json("configs", "5.24.json");
    for (base, edit, unknown) in [
        ("llama", json!({"novelty": 3}), vec!["novelty"]),
        ("gpt2", json!({"novelty": 3, "rope_theta": 5.0}), vec!["novelty", "rope_theta"]),
        ("qwen3", json!({"unsloth_fixed": true, "novelty": null}), vec![]),
    ] {
        let config = read(&edited(&made["saved"][base], &edit)).unwrap();
        assert_eq!(config.unknown_keys().collect::<Vec<_>>(), unknown);
        let strict = config.refuse_unknown_keys().map_err(|error| error.to_string());
        match unknown.is_empty() {
            true => assert!(strict.is_ok()),
            false => {
                let message = strict.unwrap_err();
                assert!(message.contains("`novelty` = 3") && message.contains(base), "{message}");
            }
        }
    }
}

#[test]
fn all_unknown_keys_are_in_one_warning() {
    let made = json("configs", "4.57.json");
    let config = read(&edited(&made["saved"]["llama"], &json!({"b": 1, "a": 2, "c": false}))).unwrap();
    let said = notices(&config);
    assert_eq!(config.notices().len(), 1, "{said}");
    assert!(said.starts_with("warning: ") && said.contains("`a`, `b`") && !said.contains("`c`"), "{said}");
}
