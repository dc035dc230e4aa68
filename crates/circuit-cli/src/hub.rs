//! Models and transcoder sets by name: a local folder that exists, or a name on the hub whose files are brought into the cache.
//!
//! The one place that reads the hub's environment variables is `environment`, below; names of files that make up a model stand
//! here too. Everything that is fetched is said before it begins. What a set consists of, `circuit-transcoder` knows.

mod ahead;
mod bars;
mod coming;
mod environment;
mod listing;

use crate::failure::{Code, Failure};
use crate::say::{say, say_notices};
pub(crate) use ahead::Ahead;
use bars::Bars;
use circuit_hub::{Fetched, Hub, HubError, HubFile, HubName, RepoId, Revision, Snapshot};
use circuit_model::weight_files::{CONFIG, INDEX, Listing, ModelFiles, no_config};
use circuit_model::{IgnoredPositions, KnownAs, ModelConfig};
use circuit_transcoder::{Recognised, SetFolder, SetOutline};
pub(crate) use coming::Coming;
pub(crate) use environment::user_cache;
use listing::OnHub;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Short names of Python's command line.
const SHORTCUTS: [(&str, &str); 2] =
    [("gemma", "mntss/gemma-scope-transcoders"), ("llama", "mntss/transcoder-Llama-3.2-1B")];

/// What a tokenizer is made of and what says which tokens end a text, as far as it is there.
const TOKENIZER: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
];

const FURTHER_TEMPLATES: &str = "additional_chat_templates/";

/// How much of a model is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    All,
    Config,
    Tokenizer,
}

/// A model's folder, and what it is called on the hub if it comes from there.
#[derive(Clone, Debug)]
pub(crate) struct FoundModel {
    pub(crate) folder: PathBuf,
    pub(crate) name: Option<HubName>,
    /// The model that the set beside it was made for, if there is a set and it says so.
    pub(crate) of_set: Option<String>,
}

impl FoundModel {
    /// How many leading positions are ignored, where a name of the model tells, and which one does.
    pub(crate) fn ignored(&self) -> Option<IgnoredPositions> {
        let hub = self.name.as_ref().map(|name| name.repo.as_str());
        KnownAs { hub, folder: &self.folder, set: self.of_set.as_deref() }.ignored_positions()
    }

    /// How many leading positions are ignored, where a name of the model tells.
    pub(crate) fn ignored_positions(&self) -> Option<usize> {
        self.ignored().map(|ignored| ignored.count)
    }
}

/// A set's folder, and what it is called on the hub if it comes from there.
#[derive(Clone, Debug)]
pub(crate) struct FoundSet {
    pub(crate) folder: SetFolder,
    pub(crate) name: Option<HubName>,
    /// What its config calls its feature pages.
    pub(crate) scan: Option<String>,
}

/// A file of a snapshot.
type Wanted = (Rc<Snapshot>, String);

/// Finds what arguments name; asks the hub at most once for each repository.
pub(crate) struct Finder {
    offline: bool,
    strict_config: bool,
    hub: OnceCell<Hub>,
    snapshots: RefCell<BTreeMap<(RepoId, Revision), Rc<Snapshot>>>,
}

impl Finder {
    pub(crate) fn new(offline: bool) -> Self {
        Self { offline, strict_config: false, hub: OnceCell::new(), snapshots: RefCell::default() }
    }

    /// Whether models are refused whose config has keys of unknown meaning.
    pub(crate) fn strict(self, strict_config: bool) -> Self {
        Self { strict_config, ..self }
    }

    /// The hub, set up when it is first needed.
    pub(crate) fn hub(&self) -> Result<&Hub, Failure> {
        if let Some(hub) = self.hub.get() {
            return Ok(hub);
        }
        let hub = Hub::new(environment::config(self.offline)?)?;
        Ok(self.hub.get_or_init(|| hub))
    }

    /// A hub that outlives this.
    pub(crate) fn into_hub(self) -> Result<Hub, Failure> {
        self.hub()?;
        self.hub.into_inner().ok_or_else(|| Failure::new(Code::Other, "there is no hub"))
    }

    /// A model and a set, fetched together. Without a model it is the one that the set names.
    pub(crate) fn pair(&self, model: Option<&str>, set: &str) -> Result<(FoundModel, FoundSet), Failure> {
        let (model, set, wanted) = self.seek_pair(model, set)?;
        let sought = Sought { model: Some(model.clone()), set: Some(set.clone()), wanted };
        self.fetch_judged(&sought)?;
        Ok((model, set))
    }

    /// The same, with the files that have yet to be fetched.
    fn seek_pair(
        &self,
        model: Option<&str>,
        set: &str,
    ) -> Result<(FoundModel, FoundSet, Vec<Wanted>), Failure> {
        let Sought { model, set, wanted } = self.seek(model, Some(set), true)?;
        match (model, set) {
            (Some(model), Some(set)) => Ok((model, set, wanted)),
            _ => Err(Failure::usage("no model: give one with -m")),
        }
    }

    /// Either or both. `complete` asks for the model that a set names if none is given.
    pub(crate) fn find(
        &self,
        model: Option<&str>,
        set: Option<&str>,
        complete: bool,
    ) -> Result<(Option<FoundModel>, Option<FoundSet>), Failure> {
        let sought = self.seek(model, set, complete)?;
        self.fetch_judged(&sought)?;
        Ok((sought.model, sought.set))
    }

    /// What of either or both has yet to come. Only configs are fetched, which say what belongs to them.
    pub(crate) fn missing(&self, model: Option<&str>, set: Option<&str>) -> Result<Coming, Failure> {
        self.coming(&self.seek(model, set, false)?.wanted)
    }

    fn seek(&self, model: Option<&str>, set: Option<&str>, complete: bool) -> Result<Sought, Failure> {
        // The model's config comes first: nothing else is read, asked for or fetched for a model that is not supported. But
        // what is on this machine is read before a server is asked.
        let given = model.map(|model| place(model, "model")).transpose()?;
        let (here, there) = match &given {
            Some(Place::Local(_)) => (given.as_ref(), None),
            given => (None, given.as_ref()),
        };
        here.map(|model| self.check_config(model)).transpose()?;
        let local = set.filter(|set| Path::new(set).exists()).map(|set| self.outline(set)).transpose()?;
        there.map(|model| self.check_config(model)).transpose()?;
        let set = match local {
            Some(set) => Some(set),
            None => set.map(|set| self.outline(set)).transpose()?,
        };
        let model = match (given, &set) {
            (None, Some(set)) if complete => Some(set.model()?),
            (given, _) => given,
        };
        let mut wanted = Vec::new();
        let mut model = model.map(|model| self.model(model, Need::All, &mut wanted)).transpose()?;
        if let (Some(model), Some(set)) = (&mut model, &set) {
            model.of_set.clone_from(&set.outline.model_name);
        }
        let addresses = set.as_ref().map(|set| self.set_files(set, &mut wanted)).transpose()?;
        let set = set.zip(addresses).map(|(set, elsewhere)| set.found(elsewhere));
        Ok(Sought { model, set, wanted })
    }

    /// A set whose weights are on this machine already: to look at it, nothing large is fetched.
    pub(crate) fn cached_set(&self, text: &str) -> Result<FoundSet, Failure> {
        let set = self.outline(text)?;
        let mut wanted = Vec::new();
        let elsewhere = self.set_files(&set, &mut wanted)?;
        for (snapshot, file) in &wanted {
            if self.hub()?.look(snapshot, file)?.missing > 0 {
                let message = format!("{text}: not all of it is in the cache, {file} is not");
                return Err(Failure::new(Code::Input, message).hint(format!(
                    "`circuit-tracer inspect {text}` reads its headers on the hub; `circuit-tracer download -t {text}` brings it"
                )));
            }
        }
        self.quietly_if_any(&wanted)?;
        Ok(set.found(elsewhere))
    }

    /// What the config of a set calls its feature pages, if it can be told.
    pub(crate) fn scan_of(&self, name: &HubName) -> Option<String> {
        self.outline(&name.to_string()).ok()?.outline.scan
    }

    fn quietly_if_any(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        if wanted.is_empty() { Ok(()) } else { self.quietly(wanted).map(drop) }
    }

    /// A model alone, or a part of it.
    pub(crate) fn model_part(&self, text: &str, need: Need) -> Result<FoundModel, Failure> {
        let mut wanted = Vec::new();
        let model = self.model(place(text, "model")?, need, &mut wanted)?;
        self.fetch(&wanted)?;
        Ok(model)
    }

    /// A repository as it is at a revision.
    pub(crate) fn snapshot(&self, repo: &RepoId, revision: &Revision) -> Result<Rc<Snapshot>, Failure> {
        let key = (repo.clone(), revision.clone());
        if let Some(known) = self.snapshots.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let snapshot = Rc::new(self.hub()?.snapshot(repo, revision)?);
        if let Some(reason) = &snapshot.unreachable {
            say(format_args!("note: {reason}; {repo}@{revision} is taken as the cache has it"));
        }
        self.snapshots.borrow_mut().insert(key, Rc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Reads a model's config before anything else of it; of a name on the hub it is the only file that is fetched.
    fn check_config(&self, place: &Place) -> Result<(), Failure> {
        let folder = match place {
            Place::Local(folder) => folder.clone(),
            Place::Hub(name) => {
                let snapshot = self.snapshot(&name.repo, &name.revision())?;
                if !snapshot.files.contains_key(&name.file(CONFIG)) {
                    return Ok(()); // No model: the caller says what it is.
                }
                self.quietly(&[(Rc::clone(&snapshot), name.file(CONFIG))])?;
                below(snapshot.folder(), &name.folder)
            }
        };
        self.config(&folder).map(drop)
    }

    /// Reads the config of the model in a folder, and prints its notices.
    pub(crate) fn config(&self, folder: &Path) -> Result<ModelConfig, Failure> {
        let config = ModelConfig::read(folder)?;
        if self.strict_config {
            config.refuse_unknown_keys()?;
        }
        say_notices(config.notices());
        Ok(config)
    }

    /// A model's place, and those of its files that are needed.
    fn model(&self, place: Place, need: Need, wanted: &mut Vec<Wanted>) -> Result<FoundModel, Failure> {
        if need != Need::Tokenizer {
            self.check_config(&place)?;
        }
        let name = match place {
            Place::Local(folder) => return Ok(FoundModel { folder, name: None, of_set: None }),
            Place::Hub(name) => name,
        };
        let snapshot = self.snapshot(&name.repo, &name.revision())?;
        let listing = OnHub { finder: self, snapshot: &snapshot, name: &name };
        if need != Need::Tokenizer && !listing.has(CONFIG) {
            return Err(self.no_model(&listing));
        }
        let mut files: Vec<String> = match need {
            Need::Config => vec![CONFIG.into()],
            Need::Tokenizer => vec!["tokenizer.json".into()],
            Need::All => vec![CONFIG.into(), "tokenizer.json".into()],
        };
        if need != Need::Config {
            files.extend(
                TOKENIZER[1..].iter().filter(|file| listing.has(file)).map(|file| (*file).to_owned()),
            );
            // Further chat templates stand in a folder, under names of their own.
            let within = snapshot.files.keys().filter_map(|file| name.within(file));
            let further =
                within.filter(|file| file.starts_with(FURTHER_TEMPLATES) && file.ends_with(".jinja"));
            files.extend(further.map(str::to_owned));
        }
        if need == Need::All {
            let ModelFiles { weights, by_index, notices } = ModelFiles::find(&listing)?;
            say_notices(&notices);
            files.extend(by_index.then(|| INDEX.to_owned()));
            files.extend(weights);
        }
        wanted.extend(files.iter().map(|file| (Rc::clone(&snapshot), name.file(file))));
        let folder = below(snapshot.folder(), &name.folder);
        Ok(FoundModel { folder, name: Some(name), of_set: None })
    }

    /// A folder of a repository that holds no model.
    fn no_model(&self, listing: &OnHub<'_>) -> Failure {
        let OnHub { name, snapshot, .. } = listing;
        if snapshot.from_cache {
            // The cache may lack what the hub has.
            let missing = snapshot.file(&name.file(CONFIG)).map(drop).map_err(Failure::from).err();
            return missing.unwrap_or_else(|| no_config(listing));
        }
        match configs_of(name, snapshot).is_empty() {
            true => no_config(listing),
            false => Failure::new(Code::Input, format!("{name}: a transcoder set, expected a model"))
                .hint("give the set with -t and its model with -m"),
        }
    }

    /// A set's config.
    fn outline(&self, text: &str) -> Result<Outlined, Failure> {
        let text = match SHORTCUTS.iter().find(|(short, _)| *short == text) {
            Some((_, name)) if !Path::new(text).exists() => name,
            _ => text,
        };
        let name = match place(text, "transcoder")? {
            Place::Local(folder) => {
                let outline = SetOutline::read(&folder)?;
                return Ok(Outlined { folder, name: None, outline, configs: Vec::new() });
            }
            Place::Hub(name) => name,
        };
        let snapshot = self.snapshot(&name.repo, &name.revision())?;
        let configs = configs_of(&name, &snapshot);
        if configs.is_empty() {
            return Err(no_set(&name, &snapshot));
        }
        let configs: Vec<_> =
            configs.into_iter().map(|file| (Rc::clone(&snapshot), name.file(file))).collect();
        self.quietly(&configs)?;
        let folder = below(snapshot.folder(), &name.folder);
        let outline = SetOutline::read(&folder)?;
        Ok(Outlined { folder, name: Some(name), outline, configs })
    }

    /// The files of a set that are on the hub; gives the places of those that it lists by address.
    fn set_files(
        &self,
        set: &Outlined,
        wanted: &mut Vec<Wanted>,
    ) -> Result<BTreeMap<String, PathBuf>, Failure> {
        let mut elsewhere = BTreeMap::new();
        for address in &set.outline.addresses {
            let file: HubFile = address.parse().map_err(HubError::from)?;
            let snapshot = self.snapshot(&file.repo, &file.revision.unwrap_or_default())?;
            snapshot.file(&file.path)?;
            elsewhere.insert(address.clone(), snapshot.folder().join(&file.path));
            wanted.push((snapshot, file.path));
        }
        let Some(name) = &set.name else { return Ok(elsewhere) };
        wanted.extend(set.configs.iter().cloned());
        let snapshot = self.snapshot(&name.repo, &name.revision())?;
        for file in &set.outline.files {
            wanted.push((Rc::clone(&snapshot), name.file(file)));
        }
        if !set.outline.lists_files {
            let is_layer = |file: &&String| name.within(file).is_some_and(SetOutline::is_layer_file);
            let before = wanted.len();
            let layers = snapshot.files.keys().filter(is_layer);
            wanted.extend(layers.map(|file| (Rc::clone(&snapshot), file.clone())));
            if wanted.len() == before && snapshot.from_cache {
                let cache = self.hub()?.config().cache.clone();
                return Err(HubError::Offline { what: format!("{name}, but for its config,"), cache }.into());
            }
        }
        Ok(elsewhere)
    }

    /// Fetches small files that decide what else is needed.
    fn quietly(&self, wanted: &[Wanted]) -> Result<Vec<PathBuf>, Failure> {
        Ok(self.hub()?.fetch(&borrowed(wanted), &|_| ())?)
    }

    /// Says what is fetched, and fetches it.
    pub(crate) fn fetch(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        if wanted.is_empty() {
            return Ok(());
        }
        let (hub, looked) = (self.hub()?, self.look(wanted)?);
        for line in Coming::new(hub, wanted, &looked).announcements() {
            say(line);
        }
        let files = borrowed(wanted);
        let bars = Bars::new(&files, &looked);
        let done = hub.fetch(&files, &|event| bars.tell(event));
        bars.finish();
        done?;
        Ok(())
    }

    /// What of some files has yet to come.
    fn coming(&self, wanted: &[Wanted]) -> Result<Coming, Failure> {
        if wanted.is_empty() {
            return Ok(Coming::default());
        }
        Ok(Coming::new(self.hub()?, wanted, &self.look(wanted)?))
    }

    fn look(&self, wanted: &[Wanted]) -> Result<Vec<Fetched>, Failure> {
        let hub = self.hub()?;
        Ok(wanted.iter().map(|(snapshot, file)| hub.look(snapshot, file)).collect::<Result<_, _>>()?)
    }
}

fn borrowed(wanted: &[Wanted]) -> Vec<(&Snapshot, &str)> {
    wanted.iter().map(|(snapshot, file)| (&**snapshot, file.as_str())).collect()
}

/// What was asked for, and the files of it that are on the hub.
struct Sought {
    model: Option<FoundModel>,
    set: Option<FoundSet>,
    wanted: Vec<Wanted>,
}

/// A set whose config is there.
struct Outlined {
    folder: PathBuf,
    name: Option<HubName>,
    outline: SetOutline,
    /// Its config files, where they are on the hub.
    configs: Vec<Wanted>,
}

impl Outlined {
    /// The set, given the places of what it lists by address.
    fn found(self, elsewhere: BTreeMap<String, PathBuf>) -> FoundSet {
        let scan = self.name.as_ref().map(HubName::scan);
        let folder = SetFolder { path: self.folder, elsewhere, scan };
        FoundSet { folder, name: self.name, scan: self.outline.scan }
    }

    /// The model that the set names.
    fn model(&self) -> Result<Place, Failure> {
        let missing = || {
            let set =
                self.name.as_ref().map_or_else(|| self.folder.display().to_string(), ToString::to_string);
            Failure::usage(format!("no model is given, and {set} names none")).hint("give one with -m")
        };
        place(self.outline.model_name.as_ref().ok_or_else(missing)?, "model").map_err(|failure| {
            failure.hint("that is the `model_name` of the set's config.yaml; -m names another")
        })
    }
}

/// Where something is.
pub(crate) enum Place {
    Local(PathBuf),
    Hub(HubName),
}

/// A local folder that is there, else a name on the hub.
pub(crate) fn place(text: &str, what: &str) -> Result<Place, Failure> {
    let path = PathBuf::from(text);
    if path.exists() {
        return Ok(Place::Local(path));
    }
    text.parse().map(Place::Hub).map_err(|_| {
        Failure::new(Code::Input, format!("{text}: no such {what} folder, and no name on the hub"))
            .hint("names on the hub are owner/repo[/sub/folder][@revision]")
    })
}

/// A folder in a folder; itself where none is named.
fn below(folder: &Path, name: &str) -> PathBuf {
    if name.is_empty() { folder.into() } else { folder.join(name) }
}

/// The config files of the set in a folder of a repository, relative to it.
fn configs_of<'a>(name: &HubName, snapshot: &'a Snapshot) -> Vec<&'a str> {
    SetOutline::configs(snapshot.files.keys().filter_map(|file| name.within(file)))
}

/// A folder of a repository that holds no set; perhaps one below does.
fn no_set(name: &HubName, snapshot: &Snapshot) -> Failure {
    let found = Recognised::among(snapshot.files.keys().filter_map(|file| name.within(file)));
    let below: Vec<_> =
        found.sets_below().iter().map(|set| format!("{}/{}", name.repo, name.file(set))).collect();
    let failure =
        Failure::new(Code::Input, format!("{name}: no transcoder set: it has no config.yaml{found}"));
    match (below.is_empty(), snapshot.from_cache, found.advice()) {
        (false, ..) => failure.hint(format!("there are sets below it: {}", below.join(", "))),
        (true, true, _) => failure.hint("that is what the cache has; the hub was not asked"),
        (true, false, Some(advice)) => failure.hint(advice),
        (true, false, None) => failure,
    }
}

/// Whether a name on the hub is that of a set.
pub(crate) fn is_set_on_hub(finder: &Finder, name: &HubName) -> Result<bool, Failure> {
    let snapshot = finder.snapshot(&name.repo, &name.revision())?;
    Ok(!configs_of(name, &snapshot).is_empty())
}

/// Whether a file holds weights, by its name.
pub(crate) fn is_tensor_file(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".npz")
}

/// Bytes for a reader.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "bytes" { format!("{n} bytes") } else { format!("{value:.1} {unit}") }
}

impl Failure {
    pub(crate) fn of_hub(error: &HubError) -> Self {
        let code = match error {
            HubError::NoSpace { .. } | HubError::Io { .. } => Code::Output,
            HubError::Name(_) | HubError::Setup { .. } => Code::Usage,
            _ => Code::Input,
        };
        let failure = Self::new(code, error.to_string());
        match error.advice() {
            Some(advice) => failure.hint(advice),
            None => failure,
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::of_hub(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_said_in_the_unit_that_fits() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(5 << 30)],
            ["0 bytes", "1023 bytes", "1.5 KiB", "5.0 GiB"]
        );
    }
}
