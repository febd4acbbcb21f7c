//! Seeds that code makes, because they must fit formats that change with the program.

use crate::archive::{layer, tar};
use crate::stored::{self, FORMS};
use crate::tar_forms;

/// Media types of OCI, in the order in which documents name each other.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub(crate) fn challenge() -> Vec<Vec<u8>> {
    texts(&[
        r#"Bearer realm="https://auth.example/token",service="reg.example",scope="repository:a/b:pull""#,
        r#"Basic realm="a \"quoted\" one", Bearer realm="https://t.example/",error="insufficient_scope""#,
        "Negotiate, Digest qop=auth, Basic",
    ])
}

pub(crate) fn config_file() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"auths":{"reg.example:5000":{"auth":"YWRhOmh1bnRlcjJodW50ZXIy"}}}"#,
        r#"{"Auths":{"REG.example:5000/team":{"AUTH":"YWRhOmh1bnRlcjJodW50ZXIy","email":5}},"auths":{"docker.io":{"Username":"ada"}},"credsStore":null,"CredHelpers":{"docker.io":""},"HttpHeaders":{"a":["b"]}}"#,
        r#"{"auths":{"reg.example:5000/team/app":{"username":"ada","password":"hunter2hunter2"},"docker.io":{"identitytoken":"hunter2hunter2"}}}"#,
        r#"{"auths":{"docker.io":{"registrytoken":"hunter2hunter2","auth":""}},"credHelpers":{"reg.example:5000":"pass"},"credsStore":"desktop"}"#,
        r#"{"auths":{"docker.io":null,"reg.example:5000":{"auth":"aHVudGVyMmh1bnRlcjI="}},"credHelpers":null}"#,
    ])
}

pub(crate) fn content_range() -> Vec<Vec<u8>> {
    texts(&[
        "bytes 0-99/100",
        "bytes 5-9/*",
        "bytes */100",
        "BYTES 0-0/1",
    ])
}

pub(crate) fn digest() -> Vec<Vec<u8>> {
    let sha512 = format!("sha512:{}", "0f".repeat(64));
    let sha256 = format!("sha256:{}", "0f".repeat(32));
    texts(&[&sha256, &sha512, "sha256:", "md5:00"])
}

pub(crate) fn docker_archive() -> Vec<Vec<u8>> {
    let layer = tar_text("./ a/ a/b a/c->b d==a/b");
    let config = config(&layer);
    let manifest = r#"[{"Config":"@1","RepoTags":["app:v1"],"Layers":["@2"]}]"#;
    let short = r#"[{"Config":"@2","RepoTags":null,"Layers":["@1"]}]"#;
    vec![
        members(&[
            &format!("manifest.json\n{manifest}"),
            &format!("$.json\n{config}"),
            &format!("one/layer.tar\n{layer}"),
        ]),
        members(&[
            &format!("./manifest.json\n{short}"),
            "two/layer.tar>../one/layer.tar",
            &format!("c.json\n{config}"),
            &format!("one/layer.tar\n{layer}"),
        ]),
        raw(&crate::members::archive(&docker_members(
            manifest, &config, &layer,
        ))),
    ]
    .into_iter()
    .chain(in_all_forms(&docker_members(manifest, &config, &layer)))
    .collect()
}

fn docker_members(manifest: &str, config: &str, layer: &str) -> Vec<u8> {
    members(&[
        &format!("manifest.json\n{manifest}"),
        &format!("c.json\n{config}"),
        &format!("layer.tar\n{layer}"),
    ])
}

/// Returns an archive for each form in which tar stores members.
fn in_all_forms(text: &[u8]) -> [Vec<u8>; FORMS.len()] {
    let files = crate::members::files(text);
    FORMS.map(|form| raw(&stored::archive(&files, form)))
}

pub(crate) fn oci_archive() -> Vec<Vec<u8>> {
    let layer = tar_text("./ a/ a/b a/c->b d==a/b");
    let whole = oci_members(&layer);
    let nested = [
        "oci-layout\n{\"imageLayoutVersion\":\"1.0.0\"}".to_owned(),
        r#"index.json
{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json",$1,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}"#.to_owned(),
        format!("blobs/sha256/$\n{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{MANIFEST}\",$1,\"platform\":{{\"os\":\"linux\",\"architecture\":\"amd64\"}}}}]}}"),
    ];
    let nested: Vec<&str> = nested
        .iter()
        .map(String::as_str)
        .chain(whole[2..].iter().map(String::as_str))
        .collect();
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    vec![
        members(&whole),
        members(&nested),
        raw(&crate::members::archive(&members(&whole))),
    ]
    .into_iter()
    .chain(in_all_forms(&members(&whole)))
    .collect()
}

fn oci_members(layer: &str) -> Vec<String> {
    vec![
        "oci-layout\n{\"imageLayoutVersion\":\"1.0.0\"}".to_owned(),
        format!(
            "index.json\n{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{MANIFEST}\",$1}}]}}"
        ),
        format!(
            "blobs/sha256/$\n{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\"{CONFIG}\",$1}},\"layers\":[{{\"mediaType\":\"{LAYER}\",$2}}]}}"
        ),
        format!("blobs/sha256/$\n{}", config(layer)),
        format!("blobs/sha256/$\n{layer}"),
    ]
}

fn config(layer: &str) -> String {
    let diff_id = ociget::Digest::of(layer.as_bytes());
    format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    )
}

pub(crate) fn end_to_end() -> Vec<Vec<u8>> {
    flatten_model()
        .into_iter()
        .zip([[0x00, 0x08], [0xfe, 0x64], [0x1b, 0xf1], [0xe4, 0x2c]])
        .map(|(stack, ways)| [&ways[..], &stack].concat())
        .collect()
}

/// Three bytes per entry: what it is, where, and where it leads.
pub(crate) fn flatten_model() -> Vec<Vec<u8>> {
    vec![
        // A tree, a whiteout in the next layer, and a file where the directory was.
        vec![
            0, 0, 0, 2, 0x44, 200, 2, 0x48, 150, 15, 0, 0, 10, 0x44, 0, 15, 0, 0, 2, 0, 255,
        ],
        // A symlinked parent, a file through it, a hard link to that, and an opaque directory.
        vec![
            0, 0, 0, 5, 1, 0, 2, 0x45, 130, 7, 2, 0x44, 15, 0, 0, 11, 0, 0, 2, 0x45, 7,
        ],
        // Links before their targets.
        vec![
            7, 0, 1, 7, 1, 2, 7, 2, 3, 2, 3, 220, 15, 0, 0, 7, 0x40, 0, 13, 3, 0,
        ],
        // Files that are equal, larger than a block, and holes.
        vec![2, 0, 250, 2, 1, 250, 2, 2, 190, 2, 3, 190, 0xc2, 0x44, 249],
    ]
}

pub(crate) fn hosts_toml() -> Vec<Vec<u8>> {
    texts(&[
        "server = \"https://r.io\"\n[host.\"https://m.io\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"m.pem\"\n",
        "[host.\"http://a.io:5000/x\"]\n  client = [[\"c.pem\", \"c.key\"]]\n  [host.\"http://a.io:5000/x\".header]\n    x-one = \"hunter2hunter2\"\n    x-two = [\"2\", \"3\"]\n",
        "[host.\"https://m.io/api/own/\"]\n  override_path = true\n  skip_verify = true\n  client = \"/abs/both.pem\"\n[host.\"localhost:5000\"]\n",
        "server = \"https://u:hunter2hunter2@r.io\"\n",
        "[host.\"https://m.io\"]\n  dial_timeout = \"1h2m3.5s4ms5us6ns\"\n[host.\"https://n.io\"]\n  dial_timeout = \"+0\"\n  proxy = \"http://p.io:3128\"\n",
    ])
}

pub(crate) fn layers() -> Vec<Vec<u8>> {
    let tar = tar(&layer("./ a/ a/b=text c->a d==a/b"));
    let gzip = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    [tar, gzip, zstd]
        .into_iter()
        .map(|blob| {
            let length = u16::try_from(blob.len()).unwrap().to_le_bytes();
            [&[2][..], &length, &blob, &length, &blob].concat()
        })
        .collect()
}

pub(crate) fn manifest() -> Vec<Vec<u8>> {
    let layer = tar_text("./ a");
    let members = oci_members(&layer);
    // Without the names, and what the tag stands for first.
    let documents = members[2..].iter().map(|member| {
        let (_, document) = member.split_once('\n').unwrap();
        document.as_bytes()
    });
    let image = documents.collect::<Vec<_>>().join(&0xff);
    let index = |variant| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}",$1,"platform":{{"os":"linux","architecture":"amd64"{variant}}}}}]}}"#
        )
    };
    // As other tools write them, and Go reads them: nulls, single words, other case, wrong types where nothing rests on them.
    let odd = [
        format!(
            r#"{{"SchemaVersion":2,"mediatype":"{MANIFEST}","artifactType":null,"config":{{"mediaType":"{CONFIG}",$1,"urls":null,"annotations":{{"a":1,"b":"c"}},"data":"e30="}},"layers":[{{"mediaType":"{LAYER}",$2,"urls":["https://h.example/l"],"annotations":null}}],"subject":null,"annotations":["none"]}}"#
        ),
        format!(
            r#"{{"Architecture":"amd64","OS":"linux","os.version":null,"os.features":null,"created":5,"config":{{"Entrypoint":"/init","Cmd":null,"Env":[null,"A=b"],"User":null,"WorkingDir":"","Labels":{{"a":null,"A":"b"}},"StopSignal":15,"Volumes":{{"/v":{{}}}},"ExposedPorts":["80"],"Healthcheck":{{"Test":["CMD",null],"Interval":1,"Retries":null}}}},"rootfs":{{"type":null,"diff_ids":["{}"]}},"history":[{{"x":1,"X":2}}],"container_config":{{"Labels":null}}}}"#,
            ociget::Digest::of(layer.as_bytes())
        ),
        layer,
    ];
    let odd: Vec<&[u8]> = odd.iter().map(String::as_bytes).collect();
    vec![
        [index("").as_bytes(), &[0xff], &image].concat(),
        [index(r#","variant":"v2""#).as_bytes(), &[0xff], &image].concat(),
        image,
        odd.join(&0xff),
        br#"{"schemaVersion":2,"manifests":[null,{"digest":"x","size":-1},{"digest":"x","size":1,"platform":{"os":"linux"}}],"layers":null}"#.to_vec(),
        br#"{"schemaVersion":2,"config":{"mediaType":"","digest":"x","size":1},"layers":null,"fsLayers":[]}"#.to_vec(),
    ]
}

pub(crate) fn note() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"source":"docker.io/library/alpine:3","agent":null,"injected":{}}"#,
        r#"{"source":null,"agent":{"digest":"sha256:00","device":1,"inode":2,"size":3,"mtime":[4,5],"ctime":[6,7]}}"#,
        r#"{"source":"a\u001b[31m\nb","more":[1,{"x":[]}]}"#,
    ])
}

/// Returns an artifact that the program made of the archive above.
pub(crate) fn record() -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("image.tar");
    std::fs::write(&archive, crate::members::archive(&oci_archive()[0])).unwrap();
    let output = directory.path().join("image.sqsh");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut options = hpcc_rootfs::Options::default();
    options.platform = "linux/amd64".parse().unwrap();
    let image = format!("oci-archive:{}", archive.display());
    let mut seeds = Vec::new();
    let points = vec![
        "/etc/resolv.conf:file".parse().unwrap(),
        "/data".parse().unwrap(),
    ];
    for (verity, mount_points) in [(false, Vec::new()), (true, points)] {
        options.image.verity = verity;
        options.image.mount_points = mount_points;
        let built = hpcc_rootfs::build(&image, None, &output, &options);
        runtime.block_on(built).unwrap();
        let artifact = std::fs::read(&output).unwrap();
        // As it is, with its checksums set right, and those with a hole in front of the record.
        let ways = [0, 1, 3, 7 | 8 << 3, 5 | 20 << 3];
        seeds.extend(ways.map(|how| [&[how][..], &artifact].concat()));
    }
    seeds
}

pub(crate) fn reference() -> Vec<Vec<u8>> {
    let digest = format!("app@sha256:{}", "0f".repeat(32));
    texts(&[
        "alpine",
        "docker://ghcr.io/team/app:v1.2",
        "127.0.0.1:5000/a/b:c",
        &digest,
        "oci:/srv/images:v1",
        "docker-archive:b.tar:x/y:z",
    ])
}

/// Images of the writer, with and without compression.
pub(crate) fn tables() -> Vec<Vec<u8>> {
    use sqfs_writer::{Compressor, DataWriter, Kind, Metadata, NodeId, Options, Tree};
    let codecs = [
        Compressor::None,
        Compressor::Zstd { level: 3 },
        Compressor::Gzip { level: 9 },
    ];
    codecs
        .into_iter()
        .map(|compressor| {
            let mut options = Options::default();
            options.compressor = compressor;
            options.block_size = 4096;
            let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
            let mut tree = Tree::new(Metadata::new(0o755));
            let directory = Kind::directory();
            let directory = tree.insert(NodeId::ROOT, b"d", Metadata::new(0o700), directory);
            let directory = directory.unwrap();
            for (name, length) in [("empty", 0), ("short", 5), ("long", 9000)] {
                let mut body = writer.begin();
                body.append(&vec![b'x'; length][..]).unwrap();
                let data = body.finish().unwrap();
                let metadata = Metadata::new(0o644).with_xattr(*b"user.a", vec![1; 4]);
                let file = Kind::File(data);
                let file = tree
                    .insert(directory, name.as_bytes(), metadata, file)
                    .unwrap();
                let _ = tree.link(NodeId::ROOT, format!("{name}2").as_bytes(), file);
            }
            let link = Kind::Symlink((*b"d/long").into());
            tree.insert(NodeId::ROOT, b"l", Metadata::new(0o777), link)
                .unwrap();
            let sealed = writer.finish(&tree).unwrap();
            [&sealed.superblock[..], &sealed.sink].concat()
        })
        .collect()
}

pub(crate) fn tar_entries() -> Vec<Vec<u8>> {
    let tar = tar(&layer("./ a/ a/b=text@4755 c->a d==a/b"));
    let mut seeds = vec![zstd::encode_all(&tar[..], 3).unwrap(), tar];
    seeds.extend(tar_forms::forms());
    seeds
}

/// Each form of a header, and each of a member.
pub(crate) fn tar_readers() -> Vec<Vec<u8>> {
    let long = "directory/".repeat(12) + "long";
    let contents = [vec![0; 600], b"text".repeat(100), vec![0; 2000]].concat();
    let members = [(long, contents), ("b".to_owned(), b"text".to_vec())];
    let mut seeds = tar_forms::forms();
    seeds.extend(FORMS.map(|form| stored::archive(&members, form)));
    seeds
}

/// Two bytes of options, then four per call.
pub(crate) fn writer() -> Vec<Vec<u8>> {
    vec![
        vec![0x04, 0x31, 2, 0, 1, 0, 0, 1, 2, 200, 3, 0, 3, 9, 5, 0, 4, 2],
        vec![
            0x08, 0x72, 0x48, 0, 1, 255, 0x48, 0, 2, 255, 0x28, 0, 3, 99, 6, 0, 1, 0,
        ],
        vec![
            0xf1, 0xf8, 0, 0, 1, 3, 0x80, 0, 2, 200, 4, 0, 3, 5, 7, 0, 4, 7,
        ],
    ]
}

/// Returns a layer as text: its bytes are ASCII.
fn tar_text(entries: &str) -> String {
    String::from_utf8(tar(&layer(entries))).unwrap()
}

fn members(members: &[&str]) -> Vec<u8> {
    let members: Vec<&[u8]> = members.iter().map(|member| member.as_bytes()).collect();
    members.join(&0xff)
}

fn raw(archive: &[u8]) -> Vec<u8> {
    [&[0xfe][..], archive].concat()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
