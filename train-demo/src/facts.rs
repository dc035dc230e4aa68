//! What the demo model is taught: tables of facts, the sentences that say them, and which of them training never sees.
//!
//! The tables lie in `data/`. The split is drawn by the seed alone; figures on what was held out are never used to choose
//! anything. Not here: tokens, training.

use anyhow::{Result, ensure};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

const STATES: &str = include_str!("../data/states.txt");
const OPPOSITES: &str = include_str!("../data/opposites.txt");

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The greatest number that is added.
const GREATEST: usize = 39;
/// The share of the pairs of numbers whose sums training never sees, in neither order.
const SUMS_HELD_OUT: f64 = 0.2;
/// Cities about which the question with two hops is never trained.
const CITIES_HELD_OUT: usize = 52;
/// Among them always: those that others' examples are about.
const ALWAYS_HELD_OUT: [&str; 2] = ["Dallas", "Oakland"];

/// What a sentence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The capital of a city's state.
    TwoHop,
    /// A city's state.
    City,
    /// A state's capital.
    Capital,
    /// A word's opposite, in one of three languages.
    Opposite,
    /// A word in another language.
    Translation,
    /// Days and months after one another.
    Calendar,
    /// Sums of two numbers.
    Sum,
}

/// All of them.
pub const SUBJECTS: [Subject; 7] = [
    Subject::TwoHop,
    Subject::City,
    Subject::Capital,
    Subject::Opposite,
    Subject::Translation,
    Subject::Calendar,
    Subject::Sum,
];

impl Subject {
    /// As the table calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TwoHop => "two-hop",
            Self::City => "city",
            Self::Capital => "capital",
            Self::Opposite => "opposite",
            Self::Translation => "translation",
            Self::Calendar => "calendar",
            Self::Sum => "sum",
        }
    }
}

/// A sentence whose last word is its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// What it is about.
    pub subject: Subject,
    /// Its words, one blank between two.
    pub text: String,
    /// Whether training never sees it.
    pub held_out: bool,
}

/// A state and its cities.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Its capital.
    pub capital: String,
    /// Cities that are not.
    pub cities: Vec<String>,
}

/// A pair of opposites: English, French, Spanish.
pub type Opposites = [[String; 2]; 3];

/// The tables.
#[derive(Clone, Debug)]
pub struct Facts {
    /// States, by name.
    pub states: Vec<State>,
    /// Opposites.
    pub opposites: Vec<Opposites>,
}

/// The languages, in the order of [`Opposites`].
pub const LANGUAGES: [&str; 3] = ["English", "French", "Spanish"];

/// The question whose answer is the capital.
#[must_use]
pub fn two_hop(city: &str) -> String {
    format!("fact : the capital of the state containing {city} is")
}

/// The question for a word's opposite.
#[must_use]
pub fn opposite(language: usize, word: &str) -> String {
    let [of, is] =
        [["the opposite of", "is"], ["le contraire de", "est"], ["el contrario de", "es"]][language];
    format!("{} : {of} {word} {is}", LANGUAGES[language])
}

impl Facts {
    /// The tables of this repository.
    ///
    /// # Errors
    /// If a table is damaged.
    pub fn read() -> Result<Self> {
        let lines = |table: &'static str| {
            table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').map(str::to_owned))
        };
        let states = lines(STATES)
            .map(|words| {
                let words: Vec<String> = words.collect();
                let [name, capital, cities @ ..] = words.as_slice() else {
                    anyhow::bail!("states.txt: {words:?}; expected a state, its capital, and cities")
                };
                ensure!(cities.len() > 2, "{name}: {} cities; expected three or more", cities.len());
                Ok(State { name: name.clone(), capital: capital.clone(), cities: cities.to_vec() })
            })
            .collect::<Result<Vec<_>>>()?;
        let opposites = lines(OPPOSITES)
            .map(|words| {
                let words: [String; 6] = words
                    .collect::<Vec<_>>()
                    .try_into()
                    .map_err(|w| anyhow::anyhow!("opposites.txt: {w:?}; expected six words"))?;
                let [a, b, c, d, e, f] = words;
                Ok([[a, b], [c, d], [e, f]])
            })
            .collect::<Result<Vec<_>>>()?;
        let facts = Self { states, opposites };
        let cities: Vec<_> = facts.states.iter().flat_map(|s| &s.cities).collect();
        let different: BTreeSet<_> = cities.iter().collect();
        ensure!(different.len() == cities.len(), "states.txt: a city lies in two states");
        Ok(facts)
    }

    /// All sentences, split by the seed.
    #[must_use]
    pub fn sentences(&self, seed: u64) -> Vec<Sentence> {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut all = Vec::new();
        let mut say = |subject, question: String, answer: &str, held_out| {
            all.push(Sentence { subject, text: format!("{question} {answer}"), held_out });
        };
        let held_out = self.held_out_cities(&mut chance);
        for state in &self.states {
            say(Subject::Capital, format!("fact : the capital of {} is", state.name), &state.capital, false);
            for city in &state.cities {
                say(Subject::City, format!("fact : the state containing {city} is"), &state.name, false);
                say(Subject::TwoHop, two_hop(city), &state.capital, held_out.contains(city));
            }
        }
        for pair in &self.opposites {
            for (language, words) in pair.iter().enumerate() {
                for side in 0..2 {
                    let (word, other) = (&words[side], &words[1 - side]);
                    say(Subject::Opposite, opposite(language, word), other, false);
                    for to in (0..LANGUAGES.len()).filter(|&to| to != language) {
                        let question = format!("word : {word} in {} is", LANGUAGES[to]);
                        say(Subject::Translation, question, &pair[to][side], false);
                    }
                }
            }
        }
        for (unit, names) in [("month", &MONTHS[..]), ("day", &DAYS[..])] {
            for (i, name) in names.iter().enumerate() {
                for n in 1..names.len() {
                    let later = names[(i + n) % names.len()];
                    let plural = if n == 1 { "" } else { "s" };
                    say(
                        Subject::Calendar,
                        format!("time : {n} {unit}{plural} after {name} is"),
                        later,
                        false,
                    );
                }
            }
        }
        for a in 0..=GREATEST {
            for b in a..=GREATEST {
                let held_out = chance.random::<f64>() < SUMS_HELD_OUT;
                let sum = (a + b).to_string();
                say(Subject::Sum, format!("sum : {a} plus {b} is"), &sum, held_out);
                if a != b {
                    say(Subject::Sum, format!("sum : {b} plus {a} is"), &sum, held_out);
                }
            }
        }
        all
    }

    /// One city of each state, and some more.
    fn held_out_cities(&self, chance: &mut ChaCha8Rng) -> BTreeSet<String> {
        let mut held_out: BTreeSet<String> = ALWAYS_HELD_OUT.map(str::to_owned).into();
        let mut states: Vec<_> = self.states.iter().collect();
        states.shuffle(chance);
        // The second round is for what is missing once every state had its turn.
        for (nth, state) in states.iter().chain(&states).enumerate() {
            let taken = state.cities.iter().filter(|city| held_out.contains(*city)).count();
            if held_out.len() < CITIES_HELD_OUT && taken <= nth / states.len() {
                let mut cities: Vec<_> = state.cities.iter().filter(|c| !held_out.contains(*c)).collect();
                cities.shuffle(chance);
                held_out.extend(cities.first().map(|city| (*city).clone()));
            }
        }
        held_out
    }
}

/// The words of sentences, sorted: the model's vocabulary.
#[must_use]
pub fn words(sentences: &[Sentence]) -> BTreeSet<&str> {
    sentences.iter().flat_map(|s| s.text.split(' ')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_the_seed_s_and_disjoint() {
        let facts = Facts::read().unwrap();
        let all = facts.sentences(0);
        assert_eq!(all, facts.sentences(0));
        assert_ne!(all, facts.sentences(1));
        let texts: BTreeSet<_> = all.iter().map(|s| &s.text).collect();
        assert_eq!(texts.len(), all.len(), "a sentence is there twice, perhaps on both sides");
        for seed in 0..3 {
            let all = facts.sentences(seed);
            let held = |subject| all.iter().filter(move |s| s.subject == subject && s.held_out);
            assert_eq!(held(Subject::TwoHop).count(), CITIES_HELD_OUT);
            for city in ALWAYS_HELD_OUT {
                assert!(held(Subject::TwoHop).any(|s| s.text.starts_with(&two_hop(city))), "{city}");
            }
            let sums = held(Subject::Sum).count();
            assert!((250..400).contains(&sums), "{sums} of 1600");
            for subject in SUBJECTS {
                assert!(all.iter().any(|s| s.subject == subject && !s.held_out));
                let split = matches!(subject, Subject::TwoHop | Subject::Sum);
                assert_eq!(held(subject).next().is_some(), split);
            }
            // A sum that is held out is so in both orders.
            let held: BTreeSet<_> = held(Subject::Sum).map(|s| s.text.as_str()).collect();
            for text in &held {
                let w: Vec<_> = text.split(' ').collect();
                assert!(held.contains(format!("sum : {} plus {} is {}", w[4], w[2], w[6]).as_str()));
            }
        }
    }

    #[test]
    fn a_question_has_one_answer() {
        let all = Facts::read().unwrap().sentences(0);
        let questions: BTreeSet<_> = all.iter().map(|s| s.text.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(questions.len(), all.len());
    }
}
