//! The manifests as a cluster gets them: what `kubectl kustomize` makes of an overlay, as far as
//! those here go. A kustomization names folders and files of `resources`, and `patches` that are
//! lists of JSON patch operations (RFC 6902) for one object; anything else in one is an error, so
//! that nothing is passed over that kubectl would carry out.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

/// One way to install: the base, or an overlay.
pub struct Variant {
    /// The name of its folder.
    pub name: String,
    /// Its objects, those of the base first.
    pub objects: Vec<Value>,
    /// Every file that was read for it.
    pub files: BTreeSet<PathBuf>,
}

impl Variant {
    /// The one object of this kind and name.
    pub fn object(&self, kind: &str, name: &str) -> &Value {
        let mut found = self.objects.iter().filter(|object| is(object, kind, name));
        let object = found.next().unwrap_or_else(|| panic!("{}: no {kind} {name}", self.name));
        assert!(found.next().is_none(), "{}: two objects {kind} {name}", self.name);
        object
    }

    /// All objects of this kind.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }
}

/// The base, then every overlay.
pub fn variants() -> Vec<Variant> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root().join("overlays"))
        .expect("a folder of overlays")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    folders.sort();
    folders.insert(0, root().join("base"));
    folders.iter().map(|folder| variant(folder)).collect()
}

fn variant(folder: &Path) -> Variant {
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let mut files = BTreeSet::new();
    let objects = kustomize(folder, &mut files);
    Variant { name, objects, files }
}

fn kustomize(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Vec<Value> {
    let path = folder.join("kustomization.yaml");
    let [kustomization] = read(&path, files).try_into().expect("one document");
    let known = ["apiVersion", "kind", "resources", "patches"];
    for key in kustomization.as_object().expect("a map").keys() {
        assert!(known.contains(&key.as_str()), "{}: `{key}` is not understood", path.display());
    }
    let mut objects = Vec::new();
    for resource in list(&kustomization["resources"]) {
        let path = within(folder, text(resource));
        match path.is_dir() {
            true => objects.extend(kustomize(&path, files)),
            false => objects.extend(read(&path, files)),
        }
    }
    for patch in list(&kustomization["patches"]) {
        let path = within(folder, text(&patch["path"]));
        let [operations] = read(&path, files).try_into().expect("one list of operations");
        let target = &patch["target"];
        let (kind, name) = (text(&target["kind"]), text(&target["name"]));
        let object = objects.iter_mut().find(|object| is(object, kind, name));
        let object = object.unwrap_or_else(|| panic!("{}: no {kind} {name}", path.display()));
        for operation in list(&operations) {
            apply(object, operation).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
    objects
}

/// Carries out one operation. Only what the overlays use: a pointer into a list is an index.
fn apply(object: &mut Value, operation: &Value) -> Result<(), String> {
    let pointer = text(&operation["path"]);
    let value = || operation.get("value").cloned().ok_or(format!("{operation}: no value"));
    let absent = || format!("{operation}: nothing at {pointer}");
    match text(&operation["op"]) {
        "test" => {
            let found = object.pointer(pointer).ok_or_else(absent)?;
            (*found == value()?).then_some(()).ok_or(format!("{operation}: found {found}"))
        }
        "replace" => {
            *object.pointer_mut(pointer).ok_or_else(absent)? = value()?;
            Ok(())
        }
        "add" => {
            let (parent, key) = parent(object, pointer).ok_or_else(absent)?;
            match parent {
                Value::Array(list) if key == "-" => list.push(value()?),
                Value::Object(map) if !map.contains_key(&key) => {
                    map.insert(key, value()?);
                }
                _ => return Err(format!("{operation}: neither new in a map nor last in a list")),
            }
            Ok(())
        }
        "remove" => {
            let (parent, key) = parent(object, pointer).ok_or_else(absent)?;
            let removed = match parent {
                Value::Object(map) => map.remove(&key),
                Value::Array(list) => {
                    let index = key.parse().ok().filter(|index| *index < list.len());
                    index.map(|index: usize| list.remove(index))
                }
                _ => None,
            };
            removed.map(|_| ()).ok_or_else(absent)
        }
        _ => Err(format!("{operation}: this `op` is not understood")),
    }
}

/// What holds the value at `pointer`, and the value's key in it (RFC 6901 section 4).
fn parent<'a>(object: &'a mut Value, pointer: &str) -> Option<(&'a mut Value, String)> {
    let (parent, key) = pointer.rsplit_once('/')?;
    Some((object.pointer_mut(parent)?, key.replace("~1", "/").replace("~0", "~")))
}

/// All places where two values differ, as pointers; a value that only one of them has is one place.
pub fn differences(left: &Value, right: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    compare(left, right, "", &mut found);
    found
}

fn compare(left: &Value, right: &Value, at: &str, found: &mut BTreeSet<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys()) {
                let null = Value::Null;
                let (left, right) =
                    (left.get(key).unwrap_or(&null), right.get(key).unwrap_or(&null));
                compare(left, right, &format!("{at}/{}", key.replace('/', "~1")), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(left, right, &format!("{at}/{index}"), found);
            }
        }
        _ if left == right => {}
        _ => {
            found.insert(at.to_owned());
        }
    }
}

/// The documents of one file.
fn read(path: &Path, files: &mut BTreeSet<PathBuf>) -> Vec<Value> {
    let content = std::fs::read_to_string(path);
    let content = content.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    files.insert(path.to_owned());
    serde_saphyr::from_multiple(&content).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every YAML file below the folder of manifests, without links.
pub fn yaml_files() -> BTreeSet<PathBuf> {
    let mut pending = vec![root()];
    let mut files = BTreeSet::new();
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a file type");
            let is_yaml = entry.path().extension().is_some_and(|extension| extension == "yaml");
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() && is_yaml {
                files.insert(entry.path());
            }
        }
    }
    files
}

/// `path` as seen from `folder`, without `..`, so that one file has one name.
fn within(folder: &Path, path: &str) -> PathBuf {
    let mut full = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => assert!(full.pop(), "{path}"),
            part => full.push(part),
        }
    }
    full
}

fn is(object: &Value, kind: &str, name: &str) -> bool {
    object["kind"] == kind && object["metadata"]["name"] == name
}

/// The elements of a list; none if there is no list.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text; a panic that shows the value if it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text instead of {value}"))
}

/// The folder of manifests.
pub fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().expect("the workspace").join("manifests")
}
