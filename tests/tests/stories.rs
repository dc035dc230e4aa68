//! Stories that the demo model's features tell, tested: what the notebooks of the field show by hand, over all pairs and not one.
//!
//! The model answers "the capital of the state containing Dallas is" with "Austin". If it does so by way of Texas, then putting California
//! in Texas's place must make it say "Sacramento". Nobody tells which features mean Texas: those are found by what fires them, on all
//! cities of the corpus in `demo/`. Every test prints how many of all pairs came out as told.

#![allow(clippy::print_stdout, reason = "how many pairs came out as told is for a reader")]

use circuit_attribution::{PullBack, Read, TargetChoice};
use circuit_index::{FeatureIndex, Layer, Pos, TokenId};
use circuit_intervention::{Change, Edit, Freeze, Interventions, Outcome, Positions, Request};
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use circuit_replacement::LocalReplacement;
use circuit_tests::demo;
use circuit_transcoder::TranscoderSet;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use tch::{Device, Kind, Tensor};

/// Requests run side by side.
const TOGETHER: usize = 128;
/// Features of the last layer say words, those below say what the words are about.
const LAYERS: std::ops::Range<usize> = 0..3;

/// The demo, opened.
struct Demo {
    model: Model,
    set: TranscoderSet,
    tokenizer: Tokenizer,
}

/// A feature at one of the positions that a story is about, and its activation there.
type Activation = ((usize, i64), f64);

impl Demo {
    fn open() -> Self {
        let model = Model::open(&demo().join("model"), Kind::Float, Device::Cpu).unwrap();
        let (n_layers, d_model) = (model.spec().n_layers(), model.spec().d_model);
        let set =
            TranscoderSet::open(&demo().join("transcoders"), n_layers, d_model, Kind::Float, Device::Cpu)
                .unwrap();
        Self { model, set, tokenizer: Tokenizer::open(&demo().join("model")).unwrap() }
    }

    fn tokens(&self, prompt: &str) -> Vec<TokenId> {
        self.tokenizer.encode_prompt(prompt).unwrap().tokens
    }

    fn run(&self, requests: &[Request]) -> Vec<Outcome<'_>> {
        let interventions = Interventions::new(&self.model, &self.set, 1).unwrap();
        let run = |some| interventions.run(some, &Freeze::Attention).unwrap();
        requests.chunks(TOGETHER).flat_map(run).collect()
    }

    /// The most probable next word.
    fn says(&self, outcome: &Outcome<'_>) -> String {
        let token = outcome.logits.get(-1).argmax(-1, false).int64_value(&[]);
        self.tokenizer.decode_token(TokenId::from(token as usize)).unwrap()
    }

    /// What is active at a position, in the layers that a story is about.
    fn active(&self, outcome: &Outcome<'_>, pos: i64) -> Vec<Activation> {
        LAYERS
            .flat_map(|l| {
                let acts = outcome.activations(Layer::from(l), true).unwrap().get(pos);
                let acts = Vec::<f64>::try_from(acts.to_kind(Kind::Double)).unwrap();
                let found = acts.into_iter().enumerate().filter(|(_, a)| *a != 0.0);
                found.map(|(f, a)| ((l, f as i64), a)).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn edit((layer, feature): (usize, i64), pos: i64, change: Change) -> Edit {
    Edit {
        layer: Layer::from(layer),
        feature: FeatureIndex::from(feature as usize),
        positions: Positions::At(Pos::from(pos as usize)),
        change,
    }
}

/// State, its capital, and its cities.
fn states() -> BTreeMap<String, (String, Vec<String>)> {
    let corpus = std::fs::read_to_string(demo().join("corpus.txt")).unwrap();
    let between = |line: &str, start: &str| {
        let (city, answer) = line.strip_prefix(start)?.split_once(" is ")?;
        Some((city.to_owned(), answer.to_owned()))
    };
    let state_of: BTreeMap<_, _> =
        corpus.lines().filter_map(|line| between(line, "fact : the state containing ")).collect();
    let mut states: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for (city, capital) in
        corpus.lines().filter_map(|line| between(line, "fact : the capital of the state containing "))
    {
        let state = states.entry(state_of[&city].clone()).or_insert((capital, Vec::new()));
        state.1.push(city);
    }
    assert_eq!(states.len(), 50);
    states
}

fn question(city: &str) -> String {
    format!("fact : the capital of the state containing {city} is")
}

/// For each state and position, the features that mean it there, with their mean activation: they fire on three of four of its cities and
/// carry half of all their activation there.
type Meanings = BTreeMap<(String, i64), Vec<Activation>>;

/// How often a feature fires on each state's cities, and the sum of its activations there.
type ByState<'a> = BTreeMap<&'a String, (f64, f64)>;

fn meanings(demo: &Demo) -> &'static Meanings {
    static MEANINGS: OnceLock<Meanings> = OnceLock::new();
    MEANINGS.get_or_init(|| find_meanings(demo, [CITY, LAST]))
}

fn find_meanings(demo: &Demo, positions: [i64; 2]) -> Meanings {
    let states = states();
    let cities: Vec<(&String, &String)> =
        states.iter().flat_map(|(state, (_, cities))| cities.iter().map(move |city| (state, city))).collect();
    let requests: Vec<_> = cities
        .iter()
        .map(|(_, city)| Request { tokens: demo.tokens(&question(city)), edits: vec![] })
        .collect();
    let mut sums: BTreeMap<(i64, (usize, i64)), ByState<'_>> = BTreeMap::new();
    for ((state, _), outcome) in cities.iter().zip(demo.run(&requests)) {
        for pos in positions {
            for (feature, activation) in demo.active(&outcome, pos) {
                let of_state = sums.entry((pos, feature)).or_default().entry(state).or_default();
                *of_state = (of_state.0 + 1.0, of_state.1 + activation);
            }
        }
    }
    let mut meanings = Meanings::new();
    for ((pos, feature), by_state) in sums {
        let whole: f64 = by_state.values().map(|s| s.1).sum();
        for (state, (fires, sum)) in by_state {
            let n_cities = states[state].1.len() as f64;
            if fires >= 0.75 * n_cities && sum >= 0.5 * whole {
                meanings.entry((state.clone(), pos)).or_default().push((feature, sum / fires));
            }
        }
    }
    meanings
}

const CITY: i64 = 9;
const LAST: i64 = 10;

#[test]
fn with_california_in_the_place_of_texas_dallas_leads_to_sacramento() {
    let demo = Demo::open();
    let states = states();
    let meanings = meanings(&demo);
    let found = |pos| states.keys().filter(|s| meanings.contains_key(&((*s).clone(), pos))).count();
    println!(
        "states with a feature of their own: {} at the city, {} at the last word",
        found(CITY),
        found(LAST)
    );

    // Every ordered pair of states, one city of the first: what means the first is turned round, what means the second is put in, twice
    // as strong as it is on the second's own cities.
    let swap = |city: &str, from: &String, to: &String| {
        let at = |pos: i64| {
            let of = |state: &String| meanings.get(&(state.clone(), pos)).cloned().unwrap_or_default();
            let put_in = of(to);
            let stays = |f: &(usize, i64)| put_in.iter().any(|(g, _)| g == f);
            let out: Vec<_> = of(from).into_iter().filter(|(f, _)| !stays(f)).collect();
            let out = out.into_iter().map(move |(f, _)| edit(f, pos, Change::Scale(-1.0)));
            out.chain(put_in.into_iter().map(move |(f, mean)| edit(f, pos, Change::Set(2.0 * mean))))
                .collect::<Vec<_>>()
        };
        Request { tokens: demo.tokens(&question(city)), edits: [at(CITY), at(LAST)].concat() }
    };
    let names: Vec<&String> = states.keys().collect();
    let mut pairs = Vec::new();
    for (i, &from) in names.iter().enumerate() {
        for (j, &to) in names.iter().enumerate().filter(|(j, _)| *j != i) {
            let cities = &states[from].1;
            pairs.push((from, to, swap(&cities[(i + j) % cities.len()], from, to)));
        }
    }
    let requests: Vec<_> = pairs.iter().map(|(_, _, request)| request.clone()).collect();
    let right = pairs
        .iter()
        .zip(demo.run(&requests))
        .filter(|((_, to, _), outcome)| demo.says(outcome) == states[*to].0)
        .count();
    println!("the other state's capital: {right} of {} pairs", pairs.len());
    assert!(right as f64 >= 0.8 * pairs.len() as f64, "{right} of {}", pairs.len());

    let (texas, california) = ("Texas".to_owned(), "California".to_owned());
    let dallas = Request { tokens: demo.tokens(&question("Dallas")), edits: vec![] };
    let told = demo.run(&[dallas, swap("Dallas", &texas, &california)]);
    assert_eq!([demo.says(&told[0]), demo.says(&told[1])], ["Austin", "Sacramento"]);
}

/// English, French, Spanish: a word and its opposite.
const OPPOSITES: [[[&str; 2]; 3]; 12] = [
    [["hot", "cold"], ["chaud", "froid"], ["caliente", "frío"]],
    [["big", "small"], ["grand", "petit"], ["grande", "pequeño"]],
    [["fast", "slow"], ["rapide", "lent"], ["rápido", "lento"]],
    [["strong", "weak"], ["fort", "faible"], ["fuerte", "débil"]],
    [["rich", "poor"], ["riche", "pauvre"], ["rico", "pobre"]],
    [["clean", "dirty"], ["propre", "sale"], ["limpio", "sucio"]],
    [["dry", "wet"], ["sec", "mouillé"], ["seco", "mojado"]],
    [["sweet", "bitter"], ["doux", "amer"], ["dulce", "amargo"]],
    [["open", "closed"], ["ouvert", "fermé"], ["abierto", "cerrado"]],
    [["early", "late"], ["tôt", "tard"], ["temprano", "tarde"]],
    [["full", "empty"], ["plein", "vide"], ["lleno", "vacío"]],
    [["new", "old"], ["neuf", "vieux"], ["nuevo", "viejo"]],
];

const LANGUAGES: [[&str; 2]; 3] = [
    ["English : the opposite of", "is"],
    ["French : le contraire de", "est"],
    ["Spanish : el contrario de", "es"],
];

#[test]
fn an_opposite_s_operand_and_language_can_be_swapped() {
    const OPERAND: i64 = 6;
    const END: i64 = 7;
    let demo = Demo::open();
    let ask = |language: usize, pair: usize| {
        let [start, end] = LANGUAGES[language];
        let tokens = demo.tokens(&format!("{start} {} {end}", OPPOSITES[pair][language][0]));
        assert_eq!(tokens.len(), 8);
        Request { tokens, edits: vec![] }
    };
    let plain: Vec<_> =
        (0..3).flat_map(|language| (0..OPPOSITES.len()).map(move |pair| (language, pair))).collect();
    let asked: Vec<_> = plain.iter().map(|&(language, pair)| ask(language, pair)).collect();
    let outcomes = demo.run(&asked);
    let answered =
        plain.iter().zip(&outcomes).filter(|((l, p), o)| demo.says(o) == OPPOSITES[*p][*l][1]).count();
    println!("opposites answered: {answered} of {}", plain.len());
    let places = plain.iter().zip(&outcomes).flat_map(|(&question, outcome)| {
        let at = |pos| ((question, pos), demo.active(outcome, pos));
        [OPERAND, END].map(at)
    });
    let known: BTreeMap<_, _> = places.collect();

    // At the operand and the last word, what is active on one question makes room for what is active on the other.
    let swapped = |from: (usize, usize), to: (usize, usize)| {
        let edits = [OPERAND, END].into_iter().flat_map(|pos| {
            let put_in = &known[&(to, pos)];
            let out = known[&(from, pos)].iter().filter(|(f, _)| !put_in.iter().any(|(g, _)| g == f));
            let out: Vec<_> = out.map(|&(f, _)| edit(f, pos, Change::Set(0.0))).collect();
            out.into_iter()
                .chain(put_in.iter().map(|&(f, a)| edit(f, pos, Change::Set(a))))
                .collect::<Vec<_>>()
        });
        Request { edits: edits.collect(), ..ask(from.0, from.1) }
    };
    let count = |what: &str, pairs: Vec<((usize, usize), (usize, usize))>| {
        let requests: Vec<_> = pairs.iter().map(|&(from, to)| swapped(from, to)).collect();
        let outcomes = demo.run(&requests);
        let right =
            pairs.iter().zip(outcomes).filter(|((_, to), o)| demo.says(o) == OPPOSITES[to.1][to.0][1]);
        let right = right.count();
        println!("{what} swapped: {right} of {} pairs", pairs.len());
        right as f64 / pairs.len() as f64
    };
    let n = OPPOSITES.len();
    let operands = (0..3).flat_map(|l| (0..n).flat_map(move |a| (0..n).map(move |b| ((l, a), (l, b)))));
    let operands = count("operand", operands.filter(|(from, to)| from != to).collect());
    let languages = (0..n).flat_map(|p| (0..3).flat_map(move |a| (0..3).map(move |b| ((a, p), (b, p)))));
    let languages = count("language", languages.filter(|(from, to)| from != to).collect());
    // Measured: 365 of 396, and 52 of 72. A language is swapped less surely than an operand: the words in front say it again.
    assert!(operands >= 0.8 && languages >= 0.6, "operand {operands:.2}, language {languages:.2}");
}

#[test]
fn what_means_texas_speaks_for_austin_against_sacramento() {
    let demo = Demo::open();
    let meanings = meanings(&demo);
    let tokens = demo.tokens(&question("Dallas"));
    let replacement = LocalReplacement::new(&demo.model, &demo.set, &tokens, 1).unwrap();
    let targets = TargetChoice::Tokens(
        ["Austin", "Sacramento"].map(|word| demo.tokenizer.single_token(word).unwrap()).to_vec(),
    );
    let [austin, sacramento] = targets.resolve(&replacement).unwrap().try_into().unwrap();
    let difference = Read::Direction(austin.direction - sacramento.direction);
    let row = PullBack::new(&replacement).unwrap().dense_rows(&[difference]).unwrap().get(0);
    let effect = |pos: i64| -> f64 {
        let texas = &meanings[&("Texas".to_owned(), pos)];
        let own = replacement.active().iter().enumerate().filter(|(_, f)| {
            i64::from(f.pos.0) == pos
                && texas.iter().any(|((l, i), _)| f.layer.get() == *l && i64::from(f.index.0) == *i)
        });
        own.map(|(nth, f)| row.double_value(&[replacement.order().feature(f.layer, f.pos, nth) as i64])).sum()
    };
    let (city, last) = (effect(CITY), effect(LAST));
    println!("Texas on Austin less Sacramento: {city:+.2} from the city, {last:+.2} from the last word");
    assert!(city > 0.0 && last > 0.0);
}

#[test]
fn the_chart_of_removals() {
    let demo = Demo::open();
    let meanings = meanings(&demo);
    let tokens = demo.tokens(&question("Dallas"));
    let austin = demo.tokenizer.single_token("Austin").unwrap();
    let removed = |places: &[i64]| {
        let edits = places.iter().flat_map(|&pos| {
            meanings[&("Texas".to_owned(), pos)].iter().map(move |(f, _)| edit(*f, pos, Change::Set(0.0)))
        });
        Request { tokens: tokens.clone(), edits: edits.collect() }
    };
    let chart = [
        ("nothing", vec![]),
        ("Texas at the city", vec![CITY]),
        ("Texas at the last word", vec![LAST]),
        ("both", vec![CITY, LAST]),
    ];
    let requests: Vec<_> = chart.iter().map(|(_, places)| removed(places)).collect();
    let logits = demo.run(&requests).into_iter().map(|outcome| outcome.logits.get(-1));
    let logits = Tensor::stack(&logits.collect::<Vec<_>>(), 0).log_softmax(-1, None::<Kind>);
    let logs: Vec<f64> = (0..4).map(|row| logits.double_value(&[row, i64::from(austin.0)])).collect();
    for ((what, _), log) in chart.iter().zip(&logs) {
        println!("{what:<24} p(Austin) {:.3}", log.exp());
    }
    assert!(logs[1] < logs[0] && logs[2] < logs[0] && logs[3] < logs[1].min(logs[2]) + 1e-6, "{logs:?}");
}
