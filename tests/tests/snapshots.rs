//! What the program says, word for word: help, summaries, descriptions and refusals, as inline snapshots.
//!
//! After a wanted change: `cargo insta test --accept -p circuit-tests` (or `INSTA_UPDATE=always` with review in git). Paths are
//! cut to what lies in the project; nothing that depends on the machine or the time is taken in.

use crate::cli::{run, text};
use circuit_tests::{TRAINED, fixture};
use insta::assert_snapshot;

/// Exit code, standard output and standard error, as one text.
fn said(args: &[&str]) -> String {
    let output = run(args);
    let mut said = format!("exit {}\n", output.status.code().unwrap());
    for (name, stream) in [("out", &output.stdout), ("err", &output.stderr)] {
        // Errors of reconstruction: another processor may round them otherwise.
        for line in text(stream).lines().filter(|l| !l.starts_with("unexplained by layer")) {
            said += &format!("{name}| {line}\n");
        }
    }
    let fixtures = fixture(TRAINED).parent().unwrap().to_str().unwrap().to_owned();
    said.replace(&fixtures, "")
}

fn trained_said(command: &str, more: &[&str]) -> String {
    let (model, set) = (fixture(TRAINED).join("model"), fixture(TRAINED).join("transcoders"));
    let folders = ["-m", model.to_str().unwrap(), "-t", set.to_str().unwrap()];
    said(&[&[command][..], &folders, more].concat())
}

#[test]
fn the_program_introduces_itself() {
    assert_snapshot!(said(&[]), @"
    exit 2
    err| Attribution graphs of language models: what affects what on a prompt, and by how much
    err| 
    err| Usage: circuit-tracer <COMMAND>
    err| 
    err| Commands:
    err|   attribute      Trace a prompt: find its attribution graph, prune it, write its files, print a
    err|                  summary
    err|   graph-files    From a raw graph (.safetensors or .pt): its pruned JSON files, or the other raw
    err|                  form
    err|   serve          Show graphs in the browser: a server for a folder of graph files, and the page
    err|   scores         Replacement and completeness scores of a raw graph, full, pruned, or of a subgraph
    err|   explain-edge   Which attention heads carry an edge of a raw graph, layer by layer: their shares
    err|                  and what passes by add up to the edge
    err|   paths          The strongest paths through a raw graph, from a token (or any node) to an output
    err|   query-key      Why a head looks where it looks: the pairs of sources that make up its attention
    err|                  scores
    err|   intervene      Set, scale or remove features, and see what the model says then
    err|   generate       Write on after a prompt, with edits of features and without
    err|   verify         Check a raw graph: with everything held, nodes must move what it says; with nothing
    err|                  held, how well it predicts what happens when features are removed
    err|   train          Train transcoders of a model
    err|   evaluate       Judge a transcoder set
    err|   feature-pages  Write what the page shows of features: examples, histogram, promoted tokens. A run
    err|                  that was cut off goes on
    err|   convert        Rewrite a transcoder set of any readable layout into the one whose files are used
    err|                  as they lie
    err|   describe       What a model, a transcoder set or a graph file is
    err|   inspect        The tensors of files, folders or names on the hub, by their headers alone
    err|   download       Bring a model, a transcoder set or both from the hub into the cache
    err|   cache          What the hub's cache holds, and removing it
    err|   doctor         What this machine has: LibTorch, devices, memory; and whether a prompt would fit
    err|   bench          Measure: how long each phase takes on random weights of a published shape
    err|   help           Print this message or the help of the given subcommand(s)
    err| 
    err| Options:
    err|   -h, --help     Print help
    err|   -V, --version  Print version
    err| 
    err| Exit codes: 0 done; 2 impossible arguments; 3 a model, transcoder set or graph that cannot be read
    err| or understood; 4 a prompt or targets that do not fit the model; 5 an output that cannot be written;
    err| 6 the device or LibTorch; 1 anything else.
    ");
    assert_snapshot!(said(&["atribute"]), @"
    exit 2
    err| error: unrecognized subcommand 'atribute'
    err| 
    err|   tip: a similar subcommand exists: 'attribute'
    err| 
    err| Usage: circuit-tracer <COMMAND>
    err| 
    err| For more information, try '--help'.
    ");
}

#[test]
fn the_summary_tells_prompt_targets_and_counts() {
    let prompt = "fact : the capital of the state containing Dallas is";
    let summary =
        trained_said("attribute", &["-p", prompt, "--max-feature-nodes", "100", "--batch-size", "10"]);
    // From here on numbers follow that another processor may round otherwise.
    let (head, _) = summary.split_once("out| \nout| Strongest features").unwrap();
    assert_snapshot!(head, @r#"
    exit 0
    out| Prompt
    out|   0:"<bos>" 1:"fact" 2:":" 3:"the" 4:"capital" 5:"of" 6:"the" 7:"state" 8:"containing" 9:"Dallas" 10:"is"
    out| 
    out| Targets
    out|   "Austin"             0.999
    out| 
    out| Graph
    out|   active features      556
    out|   selected features    100
    out|   influence elsewhere  0.012 on features not selected
    out|   kept nodes           27 (12 features, 3 errors, 11 tokens, 1 targets)
    out|   kept edges           65
    out|   replacement score    0.773 full, 0.578 pruned
    out|   completeness score   0.937 full, 0.871 pruned
    "#);
}

#[test]
fn descriptions() {
    {
        let case = fixture("gemma2-plt-jumprelu");
        let (model, set) = (case.join("model"), case.join("transcoders"));
        assert_snapshot!(said(&["describe", model.to_str().unwrap()]), @"
        exit 0
        out| architecture       Gemma2ForCausalLM
        out| d_model            36
        out| d_vocab            488
        out| n_ctx              128
        out| n_layers           4
        out| ignored positions  1
        out| embedding          times 6.0000
        out| last norm          RMS, eps 1e-6, gain 1 + w
        out| unembedding        tied, soft cap 9
        out| layers             0 2
        out|   attention        window of 5 tokens, 4 heads of 12 on 2 key-value heads, scale 0.22361, soft cap 4, rotary with base 10000
        out|   mlp              gated GELU (tanh) of 72
        out|   norms            before and after each: RMS, eps 1e-6, gain 1 + w
        out| layers             1 3
        out|   attention        global, 4 heads of 12 on 2 key-value heads, scale 0.22361, soft cap 4, rotary with base 10000
        out|   mlp              gated GELU (tanh) of 72
        out|   norms            before and after each: RMS, eps 1e-6, gain 1 + w
        out| hooks
        out|   hook_embed
        out|   blocks.N.hook_resid_pre
        out|   blocks.N.ln1.hook_scale
        out|   blocks.N.ln1.hook_normalized
        out|   blocks.N.attn.hook_in
        out|   blocks.N.attn.hook_q
        out|   blocks.N.attn.hook_k
        out|   blocks.N.attn.hook_v
        out|   blocks.N.attn.hook_rot_q
        out|   blocks.N.attn.hook_rot_k
        out|   blocks.N.attn.hook_attn_scores
        out|   blocks.N.attn.hook_pattern
        out|   blocks.N.attn.hook_z
        out|   blocks.N.attn.hook_out
        out|   blocks.N.ln1_post.hook_scale
        out|   blocks.N.hook_attn_out
        out|   blocks.N.hook_resid_mid
        out|   blocks.N.ln2.hook_scale
        out|   blocks.N.ln2.hook_normalized
        out|   blocks.N.mlp.hook_in
        out|   blocks.N.mlp.hook_pre
        out|   blocks.N.mlp.hook_post
        out|   blocks.N.mlp.hook_out
        out|   blocks.N.ln2_post.hook_scale
        out|   blocks.N.hook_mlp_out
        out|   blocks.N.hook_resid_post
        out|   ln_final.hook_scale
        out|   ln_final.hook_normalized
        out|   unembed.hook_in
        out|   unembed.hook_out
        ");
        assert_snapshot!(said(&["describe", set.to_str().unwrap()]), @"
        exit 0
        out| transcoder set     per layer, 4 layers
        out| layout             one file per layer
        out| scan               parity/gemma2-plt-jumprelu
        out| model              google/gemma-2-2b
        out| reads              ln2.hook_normalized
        out| writes             hook_mlp_out
        out| layer 0            W_dec [104, 36], W_enc [104, 36], activation_function.threshold [104], b_dec [36], b_enc [104]
        out| layer 1            W_dec [104, 36], W_enc [104, 36], activation_function.threshold [104], b_dec [36], b_enc [104]
        out| layer 2            W_dec [104, 36], W_enc [104, 36], activation_function.threshold [104], b_dec [36], b_enc [104]
        out| layer 3            W_dec [104, 36], W_enc [104, 36], activation_function.threshold [104], b_dec [36], b_enc [104]
        ");
    }
    let graph = fixture("llama-plt-relu");
    assert_snapshot!(said(&["describe", graph.join("graph.pt").to_str().unwrap()]), @r#"
    exit 0
    out| raw graph          Llama-3.2-1B
    out| scan               parity/llama-plt-relu
    out| prompt             "<|begin_of_text|>The capital of the state containing Dallas is Austin, and the"
    out| tokens             13
    out| layers             4
    out| active features    258
    out| selected features  258
    out| targets            10
    out| rows               268 x 323
    "#);
    assert_snapshot!(said(&["describe", graph.join("graph.json").to_str().unwrap()]), @r#"
    exit 0
    out| pruned graph       llama-plt-relu
    out| scan               parity/llama-plt-relu
    out| prompt             "<|begin_of_text|>The capital of the state containing Dallas is Austin, and the"
    out| nodes              48
    out| links              427
    "#);
    assert_snapshot!(said(&["scores", graph.join("graph.pt").to_str().unwrap()]), @"
    exit 0
    out|            replacement completeness
    out| full             0.537        0.804
    out| pruned           0.451        0.748
    ");
}

#[test]
fn refusals() {
    let refused = |more: &[&str]| trained_said("attribute", more);
    assert_snapshot!(refused(&[]), @"
    exit 2
    err| error: no prompt: give one of --prompt, --prompt-ids, --prompt-file
    ");
    assert_snapshot!(refused(&["-p", ""]), @"
    exit 4
    err| error: the prompt is empty: it has no tokens
    ");
    assert_snapshot!(refused(&["-p", "a", "--slug", "a/b", "--graph-file-dir", "x"]), @"
    exit 2
    err| error: `a/b` cannot name a graph: only the letters a-z and A-Z, digits, `_`, `.` and `-` are allowed
    ");
    assert_snapshot!(refused(&["-p", "a", "-o", "graph.json"]), @"
    exit 2
    err| error: graph.json: a raw graph is .safetensors or .pt
    err| hint: JSON files are written with --slug and --graph-file-dir
    ");
    assert_snapshot!(refused(&["-p", "a", "--node-threshold", "1.5"]), @"
    exit 2
    err| error: node threshold is 1.5, expected a share between 0 and 1
    ");
    assert_snapshot!(refused(&["-p", "a", "--max-n-logits", "600"]), @"
    exit 4
    err| error: 600 targets asked for, the model's vocabulary has 593 tokens
    ");
    assert_snapshot!(refused(&["-p", "a", "--target-strings", "Dallas is"]), @r#"
    exit 4
    err| error: "Dallas is" is not one token but 2: "Dallas" (95), "is" (504)
    "#);
    assert_snapshot!(said(&["attribute", "-m", "./none", "-t", "gemma", "-p", "a"]), @"
    exit 3
    err| error: ./none: no such model folder, and no name on the hub
    err| hint: names on the hub are owner/repo[/sub/folder][@revision]
    ");
}
