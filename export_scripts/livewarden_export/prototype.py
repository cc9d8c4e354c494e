"""What the head without training looks for in texts: prototype sentences, as data.

Every table here was written by hand and is meant to be read: a label that no row names has no
signal in that modality, and `SUPPORTED` says so to the pipeline instead of scoring it 0 silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from livewarden_client.wire import LABELS, MODALITIES
from livewarden_export.fusion.picture import NSFW_LABELS, PICTURE_CLASSES

CALIBRATION_ID: Final = "prototype-1"

# Sentences that stand for a label. Kept free of slurs and of graphic detail: the encoder places a
# plain wording of a threat or an offer close to the coarse ones.
PROTOTYPES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "sexual_explicit": (
            "watch me have sex live on camera",
            "uncensored porn video, full nudity",
            "she is completely naked and having sex",
            "hardcore xxx adult content, see everything",
            "send me your nude pictures",
        ),
        "sexual_suggestive": (
            "take off your clothes, take your top off for the camera",
            "show us your body in lingerie, sexy",
            "you look so hot and sexy, twerk for me",
            "come to my private show tonight, horny girls",
        ),
        "minor_safety": (
            "how old are you little girl, are your parents at home",
            "do not tell your parents that we are talking",
            "you are only twelve, send me a photo of you",
            "i am a child alone at home on this stream",
            "let us meet in secret, it is ok that you are underage",
        ),
        "violence": (
            "they are beating him up, punch him in the face",
            "a man is attacking people in a violent street fight",
            "he is kicking the dog and hurting the animal",
            "beat her until she stops moving",
        ),
        "graphic_gore": (
            "there is blood everywhere and a dead body on the floor",
            "look at the corpse and the severed head",
            "his guts are hanging out of the open wound",
        ),
        "weapons": (
            "i am selling guns and ammunition, no papers needed",
            "look at my loaded pistol, a real gun",
            "how to build a pipe bomb or explosives at home",
            "buy an assault rifle without a background check",
        ),
        "terrorism_extremism": (
            "join our holy war and attack the unbelievers",
            "we praise the terrorist attack and its heroes",
            "support the islamic state and join the fighters",
            "the white race must rise up, a race war is coming",
            "swear allegiance to the terror group",
        ),
        "hate": (
            "people of that race are vermin and should be exterminated",
            "all immigrants are animals, get them out of our country",
            "i hate jews and muslims, they are subhuman",
            "gay people are disgusting and should not exist",
            "all muslims are terrorists and animals",
            "black people are inferior to white people",
        ),
        "harassment_threat": (
            "i will find you and kill you",
            "i know where you live and i am coming to hurt you",
            "you are a worthless ugly loser and everyone hates you",
            "nobody likes you, you pathetic piece of trash",
            "we will make your life hell and rape you",
            "go kill yourself, you worthless idiot",
        ),
        "self_harm": (
            "i want to kill myself tonight",
            "i am cutting my arms because i hate myself",
            "i do not want to live any more, i will end my life",
            "what is the easiest way to commit suicide",
            "i have stopped eating to starve myself thin",
        ),
        "regulated_goods": (
            "selling weed, cocaine and pills, message me for prices",
            "buy cheap vapes and cigarettes here without id",
            "let us get drunk, vodka shots on stream",
            "i am smoking a joint and getting high",
            "order prescription opioids online without a prescription",
        ),
        "gambling": (
            "join my online casino and get free spins",
            "bet on tonight's match with my betting code",
            "play slots and win real money jackpot",
            "double your money at roulette and blackjack",
        ),
        "scam_spam": (
            "send me your seed phrase to receive free crypto",
            "send one bitcoin and get two back, official giveaway",
            "click this link to claim your free gift card",
            "buy cheap followers and views, visit my website",
            "guaranteed profit, invest in this coin now, message me on telegram",
            "your account is suspended, verify your password here",
        ),
        "dangerous_acts": (
            "i am driving fast while streaming and reading chat",
            "he is climbing the skyscraper without a rope",
            "try this challenge and hold your breath until you pass out",
            "let us set it on fire and jump over the flames",
            "drink bleach for the challenge",
        ),
    }
)

# What ordinary stream text sounds like, game violence included: closeness to one of these speaks
# against every label.
BENIGN: Final = (
    "hello everyone, welcome to the stream",
    "what a great match, well played",
    "good game, that was a nice shot",
    "i killed the boss with a headshot in the game",
    "kill the dragon and take the loot",
    "he got destroyed in ranked, what a noob play",
    "lol that was so funny",
    "i love this song, what is it called",
    "today we are cooking pasta with tomato sauce",
    "thanks for the follow and the subscription",
    "where are you from, nice to meet you all",
    "how do i beat this level",
    "please play another round",
    "the sound is too quiet, turn up your microphone",
    "your setup looks amazing, which keyboard is that",
    "good night chat, see you tomorrow",
    "that goal was incredible, what a save",
    "what is the weather like today",
    "i am so tired after work, time to relax",
    "let us talk about the news and politics today",
    "my dog is so cute, look at him",
    "this movie is scary but good",
    "we are drawing a landscape with watercolours",
    "next stream is on friday at eight",
    "subscribe to the channel and turn on notifications",
    "studying for my exam, so much homework",
    "i bought a new car and new shoes",
    "workout time, twenty push-ups and then a run",
    "cleaning the kitchen and the bathroom with bleach",
    "watching the fireworks in the sky",
    "my girlfriend and my family are watching the stream with me",
    "he is bleeding, heal him with the medkit in the game",
    "driving home now, talk to you later",
    "the bomb has been planted, defuse it, counter-terrorists win",
    "that is a beautiful dress",
    "the sniper rifle in this game is overpowered, change your loadout",
)

# A text's score for a label is 1 / (1 + exp(-SLOPE * (likeness - THRESHOLD - CONTRAST * excess))):
# likeness is its largest cosine similarity to one of the label's prototypes, excess is how far its
# largest similarity to a benign sentence lies above BENIGN_FLOOR. Uncalibrated: the four numbers
# were set by hand on some ninety sentences, and no other data has confirmed them.
SLOPE: Final = 14.0
THRESHOLD: Final = 0.42
CONTRAST: Final = 0.35
BENIGN_FLOOR: Final = 0.25

SUPPORTED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        modality: tuple(
            label
            for label in LABELS
            if (
                label in PICTURE_CLASSES or label in NSFW_LABELS
                if modality == "visual"
                else label in PROTOTYPES
            )
        )
        for modality in MODALITIES
    }
)
