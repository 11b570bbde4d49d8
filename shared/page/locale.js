/* Chromium without a locale, as in a container, says that its language is "en-US@posix". No formatter of numbers
takes that, and the chart library makes one at once: the page would stay empty. */
try {
  Intl.getCanonicalLocales(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en-US" });
}
