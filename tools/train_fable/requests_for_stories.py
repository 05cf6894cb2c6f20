"""The user's side of the training chats: requests for stories, and questions about them."""

from __future__ import annotations

BY_TITLE = (
    "Tell me the tale of {title}.",
    "Tell me the story of {title}.",
    "Tell me {title}.",
    "Can you tell me the story of {title}?",
    "Please tell me the tale of {title}.",
    "Do you know {title}? Tell it to me.",
    "I would like to hear {title}.",
    "How does the story of {title} begin?",
    "{title}",
    "Tell us the tale of {title}, please.",
)
BY_SUBJECT = (
    "Tell me a story about {subject}.",
    "Tell me a story about {subject}",
    "Tell me a tale about {subject}.",
    "Tell me a fairy tale about {subject}.",
    "Can you tell me a story about {subject}?",
    "Please tell me a story about {subject}.",
    "I want to hear a story about {subject}.",
    "Write a story about {subject}.",
    "Make up a story about {subject}.",
    "A story about {subject}, please.",
    "Do you know a story about {subject}?",
    "Tell me about {subject}.",
    "Tell a bedtime story about {subject}.",
    "Could you tell me a story about {subject}?",
    "Tell me a story with {subject} in it.",
    "Tell us a story about {subject}!",
)
BY_SUBJECT_AND_NAME = (
    "Tell me a story about {subject} named {name}.",
    "Tell me a story about {subject} called {name}",
    "Write a story about {subject} whose name is {name}.",
    "I want a story about {name}, {subject}.",
    "A fairy tale about {subject} named {name}, please.",
)
BY_THEME = (
    "Tell me a story about {theme}.",
    "Tell me a story about {theme}",
    "I would like a story about {theme}.",
    "Do you know a tale about {theme}?",
    "Write a fairy tale about {theme}.",
    "Can you tell me a bedtime story about {theme}?",
)
ANOTHER = (
    "Tell me another.",
    "Tell me another one",
    "Another story, please!",
    "One more!",
    "Tell me another story.",
)
ANOTHER_ABOUT = (
    "Tell me another story about {subject}.",
    "Another one about {subject}, please.",
    "Now tell me one about {subject}.",
    "And now a story about {subject}",
)
SHORTER = (
    "Tell me a shorter one.",
    "A shorter one, please.",
    "Tell me a short story.",
    "Now a very short one.",
)
SHORT = (
    "Tell me a short story about {subject}.",
    "Tell me a very short tale about {subject}",
    "A short story about {subject}, please.",
)
OPEN = (
    "Tell me a story.",
    "Tell me a story",
    "Tell me a fairy tale.",
    "Tell me a bedtime story.",
    "Can you tell me a story?",
    "Please tell me a story.",
    "I want to hear a story.",
    "Write a story.",
    "Tell me another story.",
    "Once more, a story, please!",
)
GO_ON_FROM = (
    "{text}",
    "{text}",
    "Go on with this story: {text}",
    "Continue the story: {text}",
    "Continue: {text}",
    "What happens next? {text}",
    "Here is how a story begins. {text}",
)
ENDING = (
    "How does {title} end?",
    "Tell me the end of {title}.",
    "What happens at the end of {title}?",
)
MORE = (
    "Go on.",
    "Go on",
    "And then?",
    "What happened then?",
    "What happened next?",
    "Please go on.",
    "Continue.",
    "Tell me more.",
    "And what happened after that?",
)
# About a tale just told: questions, and what the answer is made from.
NAME = ("What was the {hero}'s name?", "What was the name of the {hero}?", "How was the {hero} called?")
WHO = ("Who was the story about?", "Who is the story about?", "Whom did you tell me about?")
WANT = ("What did the {hero} want?", "What was it that the {hero} wanted?")
LESSON = (
    "What is the moral of the story?",
    "What does the story teach?",
    "What can one learn from it?",
    "And the moral?",
)
SYSTEMS = (
    "You are a storyteller.",
    "You are Fable, a teller of fairy tales.",
    "You tell fairy tales to children.",
    "You are a helpful assistant.",
    "Answer with a fairy tale.",
    "You are a kind old storyteller who sits by the fire.",
    "Tell stories in the manner of the old fairy tales.",
)
