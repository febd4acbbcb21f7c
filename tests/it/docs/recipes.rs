//! Files of other programs in the documents, against what those programs read.

use std::fs;

use serde_json::Value;
use test_support::image::{Flavour, Image, Index, Layer, Store};
use test_support::oracle::{json_schema, yaml};
use test_support::registry::Registry;

use super::lines::{all_blocks, here_documents, is_shell};
use super::shell::script;
use super::{blocks, read, root};
use crate::cli::{Place, outcome, program};

/// Returns the configurations of machines in the documents.
fn configurations() -> Vec<String> {
    let mut found = Vec::new();
    for (_, block) in all_blocks(is_shell) {
        let texts = here_documents(&block.text).into_iter();
        found.extend(texts.filter(|(first, _)| first.contains("vm.json")));
    }
    found.into_iter().map(|(_, body)| body).collect()
}

#[test]
fn firecracker_configurations_of_the_documents_are_as_its_schema_says() {
    let place = Place::new();
    let mut files = Vec::new();
    for body in configurations() {
        let path = place.path(&format!("{}.json", files.len()));
        fs::write(&path, body).unwrap();
        files.push(path);
    }
    assert!(!files.is_empty(), "no configuration found");
    let schema = root().join("tests/data/firecracker.schema.json");
    json_schema::validate(&schema, &files).unwrap();
}

#[test]
fn firecracker_configurations_of_the_documents_are_those_of_vm_config() {
    let place = Place::new();
    fs::write(place.path("root.tar"), Layer::new().dir("etc").tar()).unwrap();
    let build = "build tar:root.tar --agent agent --platform linux/amd64 --output out.sqsh";
    assert_eq!(place.run(build.split(' ')).status, Some(0));
    let vm_config = "vm-config out.sqsh --firecracker --kernel vmlinux --vcpus 2 --memory 512M --drive-path $IMAGE";
    let printed = place.run(vm_config.split(' ')).json();
    for body in configurations() {
        let shown: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(shown, printed);
    }
}

/// Returns the commands of the job, one a line.
fn gitlab_commands() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/recipes/gitlab.md")).unwrap();
    let script = page.split_once("  script:\n").unwrap().1;
    let script = script.split_once("  artifacts:\n").unwrap().0;
    let mut commands: Vec<String> = Vec::new();
    for line in script.lines().map(str::trim) {
        match line.strip_prefix("- ") {
            Some(command) => commands.push(command.to_owned()),
            None => commands.last_mut().unwrap().push_str(&format!(" {line}")),
        }
    }
    commands
}

/// gitlab-org/gitlab-runner#1736: the project's directory has mode 0777, and so has everything in it.
#[test]
fn gitlab_recipe_works_where_all_can_write_to_the_project() {
    let mut store = Store::new();
    let image = Image::new().layer(Layer::new().file("hello", "world"));
    let digest = image.add_to(&mut store).digest;
    let registry = Registry::serve(store).unwrap();
    let image = format!("{}/x", registry.addr());
    let place = Place::new();
    let (project, kept) = (place.path("builds/group/project"), place.path("kept"));
    let mut commands = vec!["set -e".to_owned(), "umask 0000".to_owned()];
    // Those before get sources and build them.
    let own = gitlab_commands().into_iter();
    let own = own.skip_while(|command| !command.starts_with("mkdir "));
    commands.extend(own);
    let bin = program().parent().unwrap().to_str().unwrap().to_owned();
    let mut requests = Vec::new();
    for _ in 0..2 {
        let script = format!(
            "umask 0000; mkdir -p {0}; cp agent {0}/my-agent",
            project.display()
        );
        assert_eq!(
            outcome(place.command("sh").args(["-c", &script])).status,
            Some(0)
        );
        let mut job = place.command("bash");
        job.args(["-c", &commands.join("\n")])
            .current_dir(&project)
            .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
            .env("HPCC_CACHE_DIR", &kept)
            .env("CI_REGISTRY_IMAGE", &image)
            .env("IMAGE_DIGEST", &digest)
            .env("CI_REGISTRY_USER", "bob")
            .env("CI_REGISTRY_PASSWORD", "s3cret");
        let job = outcome(&mut job);
        assert_eq!(job.status, Some(0), "{job:#?}");
        assert!(project.join("rootfs.sqsh").exists());
        requests.push(registry.requests().len());
        // The next job has the cache alone.
        fs::remove_dir_all(&kept).unwrap();
    }
    assert!(
        requests[0] > 0 && requests[0] == requests[1],
        "{requests:?}"
    );
    // As the page says of a store in the project.
    let below = project.join("store");
    fs::create_dir(&below).unwrap();
    let below = below.to_str().unwrap();
    let refused = place.run(["list", "--cache-dir", below]);
    assert_eq!(refused.status, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("a directory above the store"));
}

/// `skopeo copy` stores one platform of an index and converts schema 2 by default.
#[test]
fn air_gapped_recipe_keeps_the_digest_of_the_registry() {
    let flavours = [Flavour::Oci, Flavour::Docker];
    let hello = || Image::new().layer(Layer::new().file("hello", "world"));
    let mut store = Store::new();
    let images = flavours.map(|flavour| hello().flavour(flavour).add_to(&mut store));
    let indexes = flavours.map(|flavour| {
        let other = hello().flavour(flavour).platform("linux/s390x");
        let index = Index::new().flavour(flavour).image(other);
        index.image(hello().flavour(flavour)).add_to(&mut store)
    });
    let registry = Registry::serve(store).unwrap();
    let page = blocks(&read("docs/recipes/air-gapped.md"));
    let commands: Vec<_> = page.iter().map(|block| block.text.as_str()).collect();
    let commands = commands.join("");
    for image in images.iter().chain(&indexes) {
        let place = Place::new();
        let bin = place.path("bin");
        // Without TLS, and without the policy of an installed skopeo.
        script(
            &bin.join("skopeo"),
            "#!/bin/sh\ncase \"$1\" in\n\
             copy) shift; exec /usr/bin/skopeo --insecure-policy copy --src-tls-verify=false \"$@\" ;;\n\
             inspect) exit 0 ;;\nesac\n",
        );
        let own = program().parent().unwrap().display();
        let path = format!("{}:{own}:{}", bin.display(), std::env::var("PATH").unwrap());
        let repository = format!("{}/team/build", registry.addr());
        let commands = commands
            .replace("registry.example/team/build", &repository)
            .replace("sha256:…", &image.digest)
            .replace("./my-agent", "agent");
        let mut shell = place.command("sh");
        shell.args(["-euc", &commands]).env("PATH", path);
        let run = outcome(&mut shell);
        assert_eq!(run.status, Some(0), "{}: {run:#?}", image.digest);
        assert!(place.path("root.sqsh").exists());
    }
}

/// Otherwise gigabytes of build output become a layer.
#[test]
fn container_recipe_copies_no_build_output() {
    let copied = read("packaging/Containerfile");
    assert!(copied.contains("COPY . .\n"));
    let ignored = read(".dockerignore");
    let ignored: Vec<_> = ignored.lines().collect();
    for name in [".git", "target", "fuzz/artifacts"] {
        assert!(ignored.contains(&name), "{name}");
    }
    for name in ["Cargo.lock", "LICENSE-MIT", "crates", "xtask", "tests"] {
        assert!(
            root().join(name).exists() && !ignored.contains(&name),
            "{name}"
        );
    }
}

#[test]
fn yaml_of_documents_and_workflows_parses() {
    let place = Place::new();
    let mut files = Vec::new();
    for (at, block) in all_blocks(|info| info == "yaml") {
        let path = place.path(&format!("{}.yml", at.replace('/', "-")));
        fs::write(&path, block.text).unwrap();
        files.push(path);
    }
    assert!(files.len() >= 2, "only {} blocks", files.len());
    for entry in fs::read_dir(root().join(".github/workflows")).unwrap() {
        files.push(entry.unwrap().path());
    }
    yaml::parse(&files).unwrap();
    let wrong = place.path("wrong.yml");
    for text in ["a: 1\nb: [\n", "a: 1\na: 2\n", "- a\nb: c\n"] {
        fs::write(&wrong, text).unwrap();
        assert!(yaml::parse(std::slice::from_ref(&wrong)).is_err(), "{text}");
    }
}
