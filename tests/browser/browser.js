/* This file is part of TryCoTon.  The COPYRIGHT file at the top level of
 * this repository contains the full copyright notices and license terms. */
// Chromium for web.py: a command per line on the standard input,
// {"name": …, "arguments": …}, gets a line with {"value": …} or {"error": …}.
"use strict";
const path = require("path");
const readline = require("readline");

const [driver, executablePath, width, height] = process.argv.slice(2);
const {chromium} = require(path.join(driver, "node_modules/playwright-core"));
const TIMEOUT = 60000;

// What a person sees: the texts and the values of what is displayed
function look() {
    const seen = [];
    const walker = document.createTreeWalker(
        document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.nodeType == Node.TEXT_NODE ?
            node.parentElement : node;
        if (!element.checkVisibility({visibilityProperty: true}) ||
            !element.getClientRects().length) {
            continue;
        }
        let text = "";
        if (node.nodeType == Node.TEXT_NODE) {
            if (!["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) {
                text = node.data;
            }
        } else if (node.tagName == "SELECT") {
            text = node.selectedOptions[0]?.text ?? "";
        } else if (["INPUT", "TEXTAREA"].includes(node.tagName) &&
            node.type != "password") {
            text = node.value;
        }
        text = text.replace(/[ \n\t]+/g, " ").trim();
        if (text) {
            seen.push(text);
        }
    }
    return seen;
}

(async () => {
    const browser = await chromium.launch(
        {executablePath, args: ["--no-sandbox"]});
    const context = await browser.newContext({
        viewport: {width: Number(width), height: Number(height)},
        locale: "fr-FR", timezoneId: "Europe/Paris"});
    context.setDefaultTimeout(TIMEOUT);
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", error => errors.push(String(error)));
    const commands = {
        open: async ({url}) => {
            await page.goto(url);
        },
        click: ({selector, text, double}) => {
            let locator = page.locator(selector).filter({visible: true});
            if (text) {
                // As it is or with the mark of the labels
                const escaped = text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
                locator = locator.filter(
                    {hasText: RegExp(`^\\s*${escaped}(\\s:)?\\s*$`)});
            }
            return locator.first().click({clickCount: double ? 2 : 1});
        },
        fill: ({selector, text}) => page.locator(selector).fill(text),
        press: ({key}) => page.keyboard.press(key),
        wait: ({selector}) => page.locator(selector).filter(
            {visible: true}).first().waitFor(),
        sleep: ({seconds}) => page.waitForTimeout(seconds * 1000),
        look: () => page.evaluate(look),
        title: () => page.title(),
        errors: () => errors,
        screenshot: async ({path}) => {
            await page.mouse.move(0, 0);
            await page.screenshot({path});
        },
    };
    const lines = readline.createInterface({input: process.stdin});
    for await (const line of lines) {
        const {name, arguments: arguments_} = JSON.parse(line);
        let answer;
        try {
            answer = {value: await commands[name](arguments_) ?? null};
        } catch (error) {
            answer = {error: String(error)};
        }
        process.stdout.write(JSON.stringify(answer) + "\n");
    }
    await browser.close();
})().catch(error => {
    process.stderr.write(`${error}\n`);
    process.exit(1);
});
