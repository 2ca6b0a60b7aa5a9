"""The commands of codecs: training of the context network, the folder of a codec, encoder, decoder, decoder in C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.errors import InputError
from mlquant.core.stage import Aside, File, Json, Setting, stage

Codec = Annotated[Path, File(help="folder of a codec, or its codec.json")]
STANDARD = "; - is standard"
EXPORTED = ("README.md", "Makefile", "codec.h", "codec.c", "dec.c", "tables.h", "tables.c")
"""Files of a decoder in C."""


@stage(
    "context",
    network="context.safetensors",
    losses="losses.csv",
    example="b.f32 --target y.f32 --model model.bin --energy energy.safetensors --shape shape.safetensors "
    "--settings settings.json -o context.safetensors",
)
def train_context(
    features: Annotated[list[Path], File(help="b, 22 floats a frame, at a pitch that is sent")],
    targets: Annotated[
        list[Path], File(help="y of the same speech, 79 floats a frame", flag="--target", metavar="Y.f32")
    ],
    energy: Annotated[Path, File(help="quantiser of energy, written by vq-superframe", flag="--energy")],
    shape: Annotated[Path, File(help="quantiser of shape, written by vq-superframe", flag="--shape")],
    *,
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.codecs.settings:TrainContext")],
    network: Annotated[Path, File(help="layers of the network", flag="--out")],
    losses: Annotated[Path | None, File(help="CSV: epoch, loss in training, loss held out")] = None,
) -> None:
    """Train the context network of a codec.

    It makes y_hat of the superframes around, first exact, then as they are quantised.
    """
    from mlquant.codecs import files
    from mlquant.codecs.settings import TrainContext
    from mlquant.core import blocks, disk
    from mlquant.networks import context
    from mlquant.quantisers.files import read_superframe_tables

    asked = blocks.validate(TrainContext, settings, "settings")
    quantisers = read_superframe_tables(energy), read_superframe_tables(shape)
    exact, quantised = files.read_streams(features, targets, quantisers, asked)
    sides = [files.split(streams, asked.held_out) for streams in (exact, quantised)]
    (trained, held), (trained_q, held_q) = sides
    layers, curve = context.train(asked.model_dump(), trained, trained_q, (held, held_q), network.parent)
    if losses:
        rows = [f"{epoch},{loss:.9g},{held_out:.9g}" for epoch, loss, held_out in curve]
        disk.write_text(losses, "\n".join(["epoch,loss,held_out_loss", *rows]) + "\n")
    files.write_layers(network, layers)


@stage(
    "assembled",
    description="codec.json",
    tables="tables.safetensors",
    example="energy.safetensors shape.safetensors context.safetensors --settings codec.json -o codec1200/codec.json "
    "--tables codec1200/tables.safetensors",
)
def assemble(
    energy: Annotated[Path, File(help="quantiser of energy, written by vq-superframe")],
    shape: Annotated[Path, File(help="quantiser of shape, written by vq-superframe")],
    network: Annotated[Path, File(help="context.safetensors written by train-context")],
    speech: Annotated[
        list[Path], File(help="speech by whose last seconds it is measured which bits matter most", flag="--speech")
    ] = [],  # noqa: B006
    *,
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.codecs.settings:Assembled")],
    description: Annotated[Path, File(help="what the codec is: layout, bit rate, delay, hash", flag="--out")],
    tables: Annotated[Path, File(help="its tables, in the same folder")],
) -> None:
    """Write the folder of a codec.

    It is all that enc and dec need.
    """
    from mlquant.codecs import files, trials
    from mlquant.codecs.settings import Assembled
    from mlquant.core import blocks
    from mlquant.quantisers.files import read_superframe_tables

    asked = blocks.validate(Assembled, settings, "settings")
    if (tables.parent, tables.name) != (description.parent, files.TABLES) or description.name != files.DESCRIPTION:
        raise InputError(f"--tables: found {tables}, expected {description.parent / files.TABLES} beside codec.json")
    made = files.assembled(
        asked, read_superframe_tables(energy), read_superframe_tables(shape), files.read_layers(network)
    )
    costs = trials.bit_costs(made, files.ends_of(speech)) if speech else None
    files.write(description.parent, made, asked.about, costs)


@stage("streams", bits="stream.bit", example="results/codecs/codec1200 big_dog.raw -o big_dog.bit")
def enc(
    codec: Codec,
    speech: Annotated[Path, File(help=f"audio file, or headerless 16-bit 8 kHz .raw{STANDARD} input, as .raw")],
    *,
    bits: Annotated[Path, File(help=f"bit stream{STANDARD} output", flag="--out")],
    bare: Annotated[bool, Setting(help="write no header")] = False,
    stream: Annotated[bool, Aside(help="code as samples come, with the codec's delay; the bits are the same")] = False,
) -> None:
    """Encode speech to a bit stream."""
    from mlquant.codecs import coding

    coding.encode_file(codec, speech, bits, bare=bare, stream=stream)


@stage("decoded_streams", wav="speech.wav", example="results/codecs/codec1200 big_dog.bit -o big_dog_out.wav")
def dec(
    codec: Codec,
    bits: Annotated[Path, File(help=f"bit stream{STANDARD} input")],
    *,
    bare: Annotated[bool, Setting(help="the stream has no header")] = False,
    lost: Annotated[
        str | None,
        Setting(
            help="superframes that are lost: a pattern such as 0001, repeated, where 1 is lost, or a share such as 5%"
        ),
    ] = None,
    ber: Annotated[float, Setting(help="share of bits that are turned over", ge=0, le=1)] = 0.0,
    seed: Annotated[int, Setting(help="seed of --lost and --ber", ge=0, lt=1 << 32)] = 1,
    stream: Annotated[bool, Aside(help="decode as bits come; the speech is the same")] = False,
    wav: Annotated[Path, File(help=f".wav or headerless .raw{STANDARD} output, as .raw", flag="--out")],
) -> None:
    """Decode a bit stream to speech.

    Nothing is used but the stream and the codec.
    """
    from mlquant.codecs import coding

    coding.decode_file(codec, bits, wav, bare=bare, lost=lost, ber=ber, seed=seed, stream=stream)


@stage(out=EXPORTED, example="results/codecs/codec1200 -o codec1200_c")
def export(
    codec: Annotated[
        Path, File(help="folder of a codec, or its codec.json; for --onnx also weights.safetensors of a network")
    ],
    *,
    onnx: Annotated[
        bool, Setting(help="also write the networks of a codec, or encoder and decoder of a network, as ONNX files")
    ] = False,
    out: Annotated[
        Path, File(help="folder of the decoder in C: README.md tells how to use it", flag="--out", metavar="DIR")
    ],
) -> None:
    """Write a decoder in C99 of a codec."""
    if codec.suffix == ".safetensors":
        if not onnx:
            raise InputError(f"{codec}: is a network; C is made of codecs only, --onnx writes networks as ONNX files")
        from mlquant.networks import exported

        exported.write_network(out, codec)
        return
    from mlquant.codecs import export, files

    made, codec_hash = files.read(codec)
    if onnx:
        from mlquant.networks import exported

        exported.write_codec(out, made.layers, made.shape.layers)
    export.write(out, made, codec_hash)
